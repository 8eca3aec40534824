"""The history of usage: exact sums by day, model, key and reference, however jobs end."""

from collections.abc import Mapping
from datetime import timedelta
from random import Random
from typing import Any

import pytest

from core.billing.charges import Charge
from core.billing.settlement import SettlementStatus
from core.billing.usage import NO_USAGE, UsageTotals
from core.billing.usage_history import (
    DIMENSION_OF,
    MAX_ROWS,
    NONE,
    OTHER,
    Dimension,
    GroupBy,
    UsageReport,
)
from core.jobs.job import BillingStatus, Job, JobState
from core.money import MicroUsd
from core.tenants.windows import AccountingCalendar
from core.transactions.job_update import Change, WriteResult
from tests.support.records import rules
from tests.support.store_harness import MODEL, PRICE, StoreHarness
from worker.jobs.decisions.after_end import decide_late_result, record_second_acceptance
from worker.ports import RunCompleted, UpstreamTimes

DAY = timedelta(days=1)


async def _report(harness: StoreHarness, by: GroupBy, tenant: str = "ape") -> UsageReport:
    report, today = UsageReport(by), harness.clock.now().date()
    days = harness.history.read_days(tenant, today - 500 * DAY, today + DAY, DIMENSION_OF[by])
    async for day in days:
        report.add(day)
    if by is not GroupBy.LABEL:
        assert sum((use for _, use in report.groups), NO_USAGE) == report.total
    return report


async def _submit(harness: StoreHarness, **changes: Any) -> Job:  # noqa: ANN401 - fields of the record
    fields: dict[str, Any] = {"key_id": "k1", "video_ms": 5000} | changes
    return await harness.submit("ape", **fields)


async def test_a_job_counts_in_its_day_model_key_and_reference(harness: StoreHarness) -> None:
    await harness.tenant("ape")
    job = await _submit(harness, reference="campaign | 7")
    await harness.succeed(job.id, 1_000_000)
    done = UsageTotals(1, PRICE, 1_000_000, 260_000, completed=1, video_ms=5000)
    for by, name in (
        (GroupBy.DAY, f"{job.usage_day}"),
        (GroupBy.MONTH, f"{job.usage_day:%Y-%m}"),
        (GroupBy.MODEL, MODEL),
        (GroupBy.KEY, "k1"),
        (GroupBy.REFERENCE, "campaign | 7"),
    ):
        assert (await _report(harness, by)).groups == ((name, done),)


async def test_jobs_without_a_value_are_a_group_of_their_own(harness: StoreHarness) -> None:
    await harness.tenant("ape")
    await _submit(harness, reference="seven")
    await _submit(harness)
    groups = dict((await _report(harness, GroupBy.REFERENCE)).groups)
    assert {name: use.jobs for name, use in groups.items()} == {"seven": 1, NONE: 1}


async def test_a_job_counts_in_each_of_its_labels(harness: StoreHarness) -> None:
    await harness.tenant("ape")
    both = ("app=x", "team=growth")
    job = await _submit(harness, labels=both)
    await _submit(harness, labels=both[1:])
    await harness.succeed(job.id, 5)
    report = await _report(harness, GroupBy.LABEL)
    assert {name: (use.jobs, use.settled) for name, use in report.groups} == {
        "app=(none)": (1, 0),
        "app=x": (1, 5),
        "team=growth": (2, 5),
    }
    assert (report.total.jobs, report.total.settled) == (2, 5)


async def test_a_day_keeps_a_bounded_number_of_references_apart(harness: StoreHarness) -> None:
    await harness.tenant("ape")
    jobs = [await _submit(harness, reference=f"r{n}") for n in range(MAX_ROWS + 3)]
    again = await _submit(harness, reference="r0")
    for job in (jobs[0], jobs[-1], again):
        await harness.succeed(job.id, 7)
    groups = dict((await _report(harness, GroupBy.REFERENCE)).groups)
    assert len(groups) == MAX_ROWS + 1
    assert (groups["r0"].jobs, groups["r0"].settled) == (2, 14)
    assert (groups[OTHER].jobs, groups[OTHER].settled) == (3, 7)


async def test_doubt_counts_while_it_lasts(harness: StoreHarness) -> None:
    await harness.tenant("ape")
    job = await _submit(harness)
    await harness.start(job.id)
    await harness.update(job.id, JobState.IN_DOUBT)
    total = (await _report(harness, GroupBy.DAY)).total
    assert (total.in_doubt, total.in_doubt_held) == (1, PRICE)
    await harness.update(job.id, JobState.FAILED, billed=BillingStatus.UNKNOWN)
    total = (await _report(harness, GroupBy.DAY)).total
    assert (total.in_doubt, total.in_doubt_held) == (0, 0)
    assert (total.failed, total.estimated, total.estimated_cost) == (1, 1, PRICE)
    assert (total.charged_failures, total.charged_failures_cost) == (1, PRICE)


async def test_money_stays_in_the_day_in_which_it_was_reserved(harness: StoreHarness) -> None:
    await harness.tenant("ape", calendar=AccountingCalendar("Pacific/Kiritimati", 6))
    job = await _submit(harness)
    record = await harness.jobs.load(job.id)
    assert record is not None
    harness.clock.shift(35 * DAY)
    before = await harness.tenants.load("ape")
    assert before is not None
    await harness.change_tenant("ape", calendar=AccountingCalendar("America/New_York"))
    await harness.succeed(job.id, 10)
    await harness.succeed(job.id, 10)
    groups = (await _report(harness, GroupBy.DAY)).groups
    assert [(name, use.settled) for name, use in groups] == [(f"{record.job.usage_day}", 10)]


async def test_the_first_submit_after_a_change_of_the_calendar_counts_by_the_new_one(
    harness: StoreHarness,
) -> None:
    await harness.tenant("ape")
    now = harness.clock.now()
    zones = ("Pacific/Kiritimati", "Pacific/Pago_Pago", "UTC", "Europe/Rome")
    for zone in zones:
        calendar = AccountingCalendar(zone)
        await harness.change_tenant("ape", calendar=calendar)
        record = await harness.jobs.load((await _submit(harness)).id)
        assert record is not None
        assert record.job.usage_day == calendar.day_of(now)
    assert (await _report(harness, GroupBy.DAY)).total.jobs == len(zones)


@pytest.mark.parametrize("seed", range(5))
async def test_sums_are_those_of_the_jobs_whatever_happens(
    harness: StoreHarness, seed: int
) -> None:
    await harness.tenant("ape")
    rng, jobs = Random(seed), list[Job]()
    for _ in range(120):
        if not jobs or rng.random() < 0.4:
            reference, key = rng.choice(["a", "b", None]), rng.choice(["k1", "k2"])
            jobs.append(await _submit(harness, reference=reference, key_id=key))
        else:
            job_id = rng.choice(jobs).id
            match rng.randrange(5):
                case 0:
                    await harness.succeed(job_id, rng.randrange(2_000_000))
                case 1:
                    await harness.cancel(job_id)
                case 2:
                    await harness.update(job_id, JobState.IN_DOUBT)
                case 3:
                    await harness.succeed(job_id)
                case _:
                    await harness.update(
                        job_id, JobState.EXPIRED, billed=BillingStatus.UNKNOWN, cost=None
                    )
        harness.clock.shift(timedelta(hours=rng.randrange(3)))
    totals = {by: (await _report(harness, by)).total for by in GroupBy}
    assert len(set(totals.values())) == 1
    total = totals[GroupBy.DAY]
    assert total.jobs == len(jobs)
    assert min(total.numbers) >= 0
    assert total.settled + total.released <= total.reserved


async def test_tenants_with_a_history_are_listed_although_they_are_deleted(
    harness: StoreHarness,
) -> None:
    today = harness.clock.now().date()
    for name in ("bee", "ape", "cat"):
        await harness.tenant(name)
    await _submit(harness)
    await harness.submit("bee")
    await harness.delete_tenant("ape")
    assert await harness.history.list_tenants(today) == ["ape", "bee"]
    assert await harness.history.list_tenants(today + DAY) == []
    assert (await _report(harness, GroupBy.MODEL)).total.jobs == 1


async def test_only_the_asked_for_days_are_read(harness: StoreHarness) -> None:
    await harness.tenant("ape")
    for _ in range(3):
        await _submit(harness)
        harness.clock.shift(DAY)
    first = harness.clock.now().date() - 2 * DAY
    days = [day async for day in harness.history.read_days("ape", first, first, Dimension.KEY)]
    assert [(day.day, day.rows["k1"].jobs) for day in days] == [(first, 1)]


async def test_the_models_of_a_window_add_up_after_the_clock_went_back(
    harness: StoreHarness,
) -> None:
    await harness.tenant("ape")
    await _submit(harness)
    harness.clock.move(DAY)
    await _submit(harness)
    harness.clock.move(-DAY)
    usage = await harness.usage_of("ape")
    for one in usage.windows[:3]:
        assert sum(one.models.values(), NO_USAGE) == one.total


async def test_what_a_request_of_runcomfy_cost_is_kept_by_its_id(harness: StoreHarness) -> None:
    await harness.tenant("ape")
    paid, free, lost, later = [await harness.submit("ape") for _ in range(4)]
    for job, upstream in ((paid, "up-paid"), (free, "up-free"), (later, "up-later")):
        await harness.start(job.id)
        await harness.update(job.id, JobState.RUNNING, upstream_id=upstream)
    await harness.succeed(paid.id, 1_000_001)
    await harness.update(free.id, JobState.FAILED, billed=BillingStatus.NO)
    await harness.start(lost.id)
    await harness.update(lost.id, JobState.IN_DOUBT)
    await harness.update(lost.id, JobState.FAILED, billed=BillingStatus.UNKNOWN)
    await harness.succeed(later.id)
    expected = {
        "up-paid": Charge("ape", SettlementStatus.SPENT, MicroUsd(1_000_001)),
        "up-free": Charge("ape", SettlementStatus.FREE, MicroUsd(0)),
        f"?{lost.id}": Charge("ape", SettlementStatus.ESTIMATED, PRICE),
    }
    assert await _charges(harness) == expected
    await harness.update(
        later.id, JobState.SUCCEEDED, cost=MicroUsd(7), follow_up=None, next_run_at=None
    )
    await harness.update(later.id, JobState.SUCCEEDED)
    expected["up-later"] = Charge("ape", SettlementStatus.SPENT, MicroUsd(7))
    assert await _charges(harness) == expected


async def test_a_submit_that_is_found_later_has_one_charge(harness: StoreHarness) -> None:
    await harness.tenant("ape")
    job = await harness.submit("ape")
    await harness.start(job.id)
    await harness.update(job.id, JobState.IN_DOUBT)
    await harness.update(job.id, JobState.FAILED, billed=BillingStatus.UNKNOWN)
    await harness.update(
        job.id, JobState.FAILED, upstream_id="up-1", cost=MicroUsd(9), billed=BillingStatus.YES
    )
    assert await _charges(harness) == {"up-1": Charge("ape", SettlementStatus.SPENT, MicroUsd(9))}


async def test_a_submit_that_is_accepted_after_its_doubt_was_given_up_has_one_charge(
    harness: StoreHarness,
) -> None:
    await harness.tenant("ape")
    job = await harness.submit("ape")
    await harness.start(job.id)
    await harness.update(job.id, JobState.IN_DOUBT)
    await harness.update(job.id, JobState.FAILED, billed=BillingStatus.UNKNOWN)
    given_up = await harness.jobs.load(job.id)
    assert given_up is not None
    estimated = {f"?{job.id}": Charge("ape", SettlementStatus.ESTIMATED, PRICE)}
    assert await _charges(harness) == estimated
    now = harness.clock.now()
    accepted = record_second_acceptance(given_up.job, "up-1", now)
    assert await harness.jobs.store(accepted) is WriteResult.STORED
    assert await _charges(harness) == estimated  # the tenant's usage counts the estimate until then
    answer = RunCompleted(b"{}", MicroUsd(9), UpstreamTimes(now))
    late = decide_late_result(accepted.after, answer, now, rules())
    assert isinstance(late, Change)
    assert await harness.jobs.store(late) is WriteResult.STORED
    assert await _charges(harness) == {"up-1": Charge("ape", SettlementStatus.SPENT, MicroUsd(9))}


async def _charges(harness: StoreHarness) -> Mapping[str, Charge]:
    return await harness.history.read_charges(harness.clock.now().date())
