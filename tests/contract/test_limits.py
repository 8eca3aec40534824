"""Each limit refuses from its bound on, with reason and time, and stores nothing then."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from core.billing.balance import AccountBalance
from core.billing.settlement import ReservationTotals
from core.errors import (
    BudgetReached,
    CallerError,
    LimitReached,
    ModelNotAllowed,
    NotPermitted,
    Unauthenticated,
)
from core.jobs.job import JobState
from core.money import MicroUsd
from core.operators.pauses import Pause
from core.quotas import QuotaPolicy
from core.store.tenants import MAX_KEYS_PER_TENANT
from core.tenants.api_keys import ApiKey, api_key_digest
from core.tenants.limits import GlobalLimits, Limits, Priority, UnknownPrice
from core.transactions.job_update import WriteResult
from tests.support.store_harness import StoreHarness

SECOND = timedelta(seconds=1)
LAST_MOMENT = datetime(2026, 3, 31, 23, 59, 59, 999_000, tzinfo=UTC)


async def _reserved(harness: StoreHarness, window: int = 0) -> tuple[int, ReservationTotals]:
    use = (await harness.usage_of("ape")).windows[window].total
    return use.jobs, use.reservations


@pytest.mark.parametrize(
    ("limits", "policy"),
    [
        (Limits(requests_per_minute=2), QuotaPolicy.REQUESTS),
        (Limits(requests_per_minute=60, burst=2), QuotaPolicy.REQUESTS),
        (Limits(running=1, waiting=1), QuotaPolicy.WAITING),
        (Limits(jobs_per_day=2), QuotaPolicy.JOBS_DAY),
        (Limits(jobs_per_month=2), QuotaPolicy.JOBS_MONTH),
        (Limits(usd_per_day=MicroUsd(2_520_000)), QuotaPolicy.USD_DAY),
        (Limits(usd_per_month=MicroUsd(2_520_000)), QuotaPolicy.USD_MONTH),
    ],
)
async def test_the_third_of_two_is_refused_and_leaves_nothing(
    harness: StoreHarness, limits: Limits, policy: QuotaPolicy
) -> None:
    await harness.tenant("ape", limits)
    for _ in range(2):
        await harness.submit("ape")
    before = await harness.usage_of("ape")
    third = harness.job("ape")
    with pytest.raises(LimitReached) as refused:
        await harness.admit(third)
    assert refused.value.policy == policy
    assert refused.value.retry_after is not None
    assert refused.value.retry_after > timedelta()
    assert {q.policy: q.remaining for q in refused.value.quotas}[policy] == 0
    assert await harness.usage_of("ape") == before
    assert await harness.jobs.load(third.id) is None


@pytest.mark.parametrize(
    ("limits", "changes", "kind"),
    [
        (Limits(usd_per_request=MicroUsd(1_259_999)), {}, BudgetReached),
        (Limits(models=("flux/*", "kling/text")), {}, ModelNotAllowed),
        (Limits(models=("kling",)), {}, ModelNotAllowed),
        (Limits(models=("kling.image*",)), {}, ModelNotAllowed),
        (Limits(priority=Priority.NORMAL), {"priority": Priority.HIGH}, NotPermitted),
        (Limits(unknown_price=UnknownPrice.REFUSE), {"estimate": None}, BudgetReached),
        (Limits(usd_per_request=MicroUsd(10**9)), {"estimate": None}, BudgetReached),
        (Limits(usd_per_day=MicroUsd(10**9)), {"estimate": None}, BudgetReached),
        (Limits(usd_per_month=MicroUsd(10**9)), {"estimate": None}, BudgetReached),
        (
            Limits(usd_per_day=MicroUsd(699), unknown_price_counts=MicroUsd(700)),
            {"estimate": None},
            BudgetReached,
        ),
        (Limits(requests_per_minute=0), {}, LimitReached),
        (Limits(jobs_per_day=0), {}, LimitReached),
        (Limits(running=0, waiting=0), {}, LimitReached),
    ],
)
async def test_what_is_never_allowed_is_refused_without_retry(
    harness: StoreHarness, limits: Limits, changes: dict[str, Any], kind: type[CallerError]
) -> None:
    await harness.tenant("ape", limits)
    with pytest.raises(kind) as refused:
        await harness.submit("ape", **changes)
    assert type(refused.value) is kind


@pytest.mark.parametrize(
    ("limits", "changes"),
    [
        (Limits(usd_per_request=MicroUsd(1_260_000)), {}),
        (Limits(models=("flux/dev", "kling/*")), {}),
        (Limits(models=("*/image-to-video",)), {}),
        (Limits(models=("kling/image-to-video",)), {}),
        (Limits(priority=Priority.NORMAL), {"priority": Priority.NORMAL}),
        (Limits(unknown_price=UnknownPrice.REFUSE), {}),
        (Limits(jobs_per_day=1), {"estimate": None}),
        (
            Limits(usd_per_day=MicroUsd(700), unknown_price_counts=MicroUsd(700)),
            {"estimate": None},
        ),
        (Limits(running=1, waiting=0), {}),
    ],
)
async def test_what_is_just_allowed_is_admitted(
    harness: StoreHarness, limits: Limits, changes: dict[str, Any]
) -> None:
    await harness.tenant("ape", limits)
    await harness.submit("ape", **changes)
    assert (await _reserved(harness))[0] == 1


async def test_what_was_released_can_be_spent_again(harness: StoreHarness) -> None:
    await harness.tenant("ape", Limits(usd_per_day=MicroUsd(1_260_000)))
    first = await harness.submit("ape")
    with pytest.raises(BudgetReached):
        await harness.submit("ape")
    await harness.succeed(first.id, 260_000)
    await harness.submit("ape", estimate=MicroUsd(1_000_000))
    with pytest.raises(BudgetReached):
        await harness.submit("ape", estimate=MicroUsd(1))


async def test_a_job_that_runs_immediately_needs_no_place_in_the_queue(
    harness: StoreHarness,
) -> None:
    await harness.admin.set_limits(GlobalLimits(models=(("m/slow", 1),)))
    await harness.tenant("ape")
    for _ in range(3):
        await harness.submit("ape", "m/slow")
    await harness.set_limits("ape", Limits(waiting=1))
    admitted = await harness.admit(harness.job("ape", "m/fast"))
    assert admitted.has_slot
    assert admitted.quotas[0].remaining == 0
    with pytest.raises(LimitReached):
        await harness.submit("ape", "m/slow")


async def test_an_unknown_price_counts_at_the_configured_figure(harness: StoreHarness) -> None:
    await harness.tenant("ape", Limits(unknown_price_counts=MicroUsd(700)))
    job = harness.job("ape", estimate=None)
    assert (await harness.admit(job)).reserved == 700
    assert (await _reserved(harness))[1].reserved == 700


async def test_large_figures_stay_exact(harness: StoreHarness) -> None:
    """Lua writes 10^14 as 1e+14, which does not parse as an integer."""
    most = MicroUsd(10**15)
    await harness.tenant("ape", Limits(usd_per_day=most))
    admitted = await harness.admit(harness.job("ape", estimate=MicroUsd(10**14)))
    assert admitted.reserved == 10**14
    assert admitted.quotas[0].remaining == 9 * 10**14
    exact = MicroUsd(123_456_789_012_347)
    admitted = await harness.admit(harness.job("ape", estimate=exact))
    assert admitted.quotas[0].remaining == 9 * 10**14 - exact


async def test_the_rate_refills_one_by_one(harness: StoreHarness) -> None:
    await harness.tenant("ape", Limits(requests_per_minute=6))
    for _ in range(6):
        await harness.submit("ape")
    with pytest.raises(LimitReached) as refused:
        await harness.submit("ape")
    assert refused.value.retry_after == 10 * SECOND
    harness.clock.shift(10 * SECOND)
    await harness.submit("ape")
    with pytest.raises(LimitReached):
        await harness.submit("ape")


async def test_a_clock_that_is_put_back_blocks_no_submit(harness: StoreHarness) -> None:
    await harness.tenant("ape", Limits(requests_per_minute=2))
    for _ in range(2):
        await harness.submit("ape")
    harness.clock.shift(timedelta(hours=-1))
    for _ in range(2):
        await harness.submit("ape")
    with pytest.raises(LimitReached) as refused:
        await harness.submit("ape")
    assert refused.value.retry_after == 30 * SECOND


async def test_clocks_that_differ_a_little_forget_no_submit(harness: StoreHarness) -> None:
    await harness.tenant("ape", Limits(requests_per_minute=2))
    for _ in range(2):
        await harness.submit("ape")
    for seconds in (-1, 1, -5, 5):
        harness.clock.shift(seconds * SECOND)
        with pytest.raises(LimitReached):
            await harness.submit("ape")


async def test_a_clock_put_forward_gives_one_full_burst(harness: StoreHarness) -> None:
    await harness.tenant("ape", Limits(requests_per_minute=2))
    harness.clock.shift(timedelta(days=3))
    for _ in range(2):
        await harness.submit("ape")
    with pytest.raises(LimitReached):
        await harness.submit("ape")


async def test_the_submits_of_all_have_their_own_rate(harness: StoreHarness) -> None:
    assert await harness.circuit_breakers.take_submit_token() is None
    await harness.admin.set_limits(GlobalLimits(submits_per_second=0.1))
    assert await harness.circuit_breakers.take_submit_token() is None
    again = await harness.circuit_breakers.take_submit_token()
    assert again == harness.clock.now() + 10 * SECOND
    harness.clock.shift(timedelta(hours=-1))
    assert await harness.circuit_breakers.take_submit_token() is None


async def test_reads_of_all_share_one_rate(harness: StoreHarness) -> None:
    await harness.tenant("ape")
    await harness.admin.set_limits(GlobalLimits(polls_per_second=2))
    for _ in range(5):
        await harness.submit("ape")
    harness.clock.shift(timedelta(minutes=1))
    first = await harness.jobs.claim_due(timedelta(minutes=5), 10)
    assert len(first) == 2
    assert len(await harness.jobs.claim_due(timedelta(minutes=5), 10)) == 0
    harness.clock.shift(SECOND)
    assert len(await harness.jobs.claim_due(timedelta(minutes=5), 10)) == 2


async def test_days_and_months_change_at_midnight_utc(harness: StoreHarness) -> None:
    await harness.tenant("ape", Limits(jobs_per_day=1, jobs_per_month=2))
    harness.clock.set(LAST_MOMENT)
    await harness.submit("ape")
    with pytest.raises(LimitReached) as refused:
        await harness.submit("ape")
    assert refused.value.policy == QuotaPolicy.JOBS_DAY
    assert refused.value.retry_after == timedelta(milliseconds=1)
    harness.clock.shift(timedelta(milliseconds=1))
    await harness.submit("ape")
    assert await _reserved(harness, 0) == await _reserved(harness, 2)


async def test_a_job_settles_in_the_day_in_which_it_was_admitted(harness: StoreHarness) -> None:
    await harness.tenant("ape")
    harness.clock.set(LAST_MOMENT)
    job = await harness.submit("ape")
    harness.clock.shift(SECOND)
    await harness.succeed(job.id, 1_000_000)
    assert (await _reserved(harness))[0] == 0
    harness.clock.set(LAST_MOMENT)
    for window in range(4):
        jobs, booking = await _reserved(harness, window)
        assert (jobs, booking.settled, booking.released) == (1, 1_000_000, 260_000)


async def test_a_job_made_before_midnight_and_admitted_after_it_counts_for_its_own_day(
    harness: StoreHarness,
) -> None:
    await harness.tenant("ape", Limits(jobs_per_day=1))
    harness.clock.set(LAST_MOMENT)
    jobs = [harness.job("ape") for _ in range(2)]
    harness.clock.shift(timedelta(milliseconds=2))
    await harness.admit(jobs[0])
    with pytest.raises(LimitReached) as refused:
        await harness.admit(jobs[1])
    assert refused.value.retry_after == timedelta()
    await harness.submit("ape")


async def test_below_the_minimum_balance_nothing_is_admitted(harness: StoreHarness) -> None:
    await harness.tenant("ape")
    await harness.admin.store_balance(AccountBalance(MicroUsd(5)))
    await harness.submit("ape")
    await harness.admin.set_minimum_balance(MicroUsd(5))
    await harness.submit("ape")
    await harness.admin.set_minimum_balance(MicroUsd(6))
    with pytest.raises(BudgetReached) as refused:
        await harness.submit("ape")
    assert refused.value.policy == QuotaPolicy.MINIMUM_BALANCE
    await harness.admin.store_balance(AccountBalance(None))
    await harness.submit("ape")


async def test_limits_lowered_under_what_runs_stop_nothing_that_was_admitted(
    harness: StoreHarness,
) -> None:
    await harness.tenant("ape", Limits(running=2))
    jobs = [await harness.submit("ape") for _ in range(4)]
    lowered = Limits(running=1, waiting=1, jobs_per_day=1, usd_per_day=MicroUsd(1))
    assert await harness.set_limits("ape", lowered)
    with pytest.raises(LimitReached):
        await harness.submit("ape")
    use = await harness.usage_of("ape")
    assert (use.running, use.waiting) == (2, 2)
    await harness.succeed(jobs[0].id, 1)
    use = await harness.usage_of("ape")
    assert (use.running, use.waiting) == (1, 2)
    for job in jobs[1:]:
        await harness.succeed(job.id, 1)
    use = await harness.usage_of("ape")
    assert (use.running, use.waiting, use.windows[0].total.reservations.settled) == (0, 0, 4)


async def test_the_jobs_of_a_deleted_tenant_run_to_their_end(harness: StoreHarness) -> None:
    await harness.tenant("ape", Limits(running=1))
    await harness.tenant("elk")  # without any tenant the store would be an unknown one
    running, waiting = [await harness.submit("ape") for _ in range(2)]
    assert await harness.delete_tenant("ape")
    with pytest.raises(CallerError):
        await harness.submit("ape")
    await harness.start(running.id)
    await harness.succeed(running.id, 40)
    assert await harness.start(waiting.id) is WriteResult.STORED
    await harness.cancel(waiting.id)
    record = await harness.jobs.load(waiting.id)
    assert record is not None
    assert record.job.state is JobState.CANCELLED
    use = await harness.usage_of("ape")
    assert (use.running, use.waiting, use.windows[0].total.reservations.used) == (0, 0, 40)


async def test_a_deleted_tenant_cannot_be_changed_or_given_a_key(harness: StoreHarness) -> None:
    await harness.tenant("ape")
    await harness.delete_tenant("ape")
    assert not await harness.set_limits("ape", Limits())
    key = ApiKey(api_key_digest("new"), "ape", harness.clock.now())
    assert not await harness.tenants.add_key(key)
    assert "ape" not in await harness.tenants.list_names()


async def test_a_tenant_cannot_revoke_the_key_of_another(harness: StoreHarness) -> None:
    for name in ("ape", "bee"):
        await harness.tenant(name)
    assert not await harness.tenants.revoke_key("ape", api_key_digest("bee"))
    await harness.submit("bee")
    assert await harness.tenants.revoke_key("bee", api_key_digest("bee"))
    with pytest.raises(Unauthenticated):
        await harness.submit("bee")


async def test_a_new_tenant_is_not_paused_by_what_one_of_its_name_left(
    harness: StoreHarness,
) -> None:
    await harness.admin.pause(Pause.tenant("ape"))
    await harness.tenant("ape")
    assert (await harness.admit(harness.job("ape"))).has_slot
    assert await harness.admin.list_pauses() == []


async def test_concurrent_changes_of_other_limits_undo_nothing(
    harness: StoreHarness,
) -> None:
    controls = harness.admin
    await controls.set_limits(GlobalLimits(running=9, models=(("m/a", 1), ("m/b", 2))))
    read = await controls.load_limits()
    one = replace(
        read,
        running=5,
        models=(("m/a", 1), ("m/b", 2), ("m/c", 3)),
        tenant_defaults=(("usd_per_day", 25_000_000),),
    )
    other = replace(
        read, polls_per_second=0.5, models=(("m/a", 7),), tenant_defaults=(("running", 0),)
    )
    await controls.set_limits(one, read)
    await controls.set_limits(other, read)
    assert await controls.load_limits() == GlobalLimits(
        running=5,
        polls_per_second=0.5,
        models=(("m/a", 7), ("m/c", 3)),
        tenant_defaults=(("running", 0), ("usd_per_day", 25_000_000)),
    )
    await controls.set_limits(GlobalLimits())
    assert await controls.load_limits() == GlobalLimits()


async def test_a_day_that_a_clock_ahead_began_keeps_what_it_took(harness: StoreHarness) -> None:
    await harness.tenant("ape", Limits(jobs_per_day=1))
    harness.clock.set(LAST_MOMENT)
    harness.clock.shift(SECOND)  # ahead of the others
    await harness.submit("ape")
    harness.clock.shift(-SECOND)
    assert (await _reserved(harness))[0] == 0
    await harness.submit("ape")
    harness.clock.shift(SECOND)
    with pytest.raises(LimitReached):
        await harness.submit("ape")


async def test_expired_keys_do_not_count_towards_the_limit(harness: StoreHarness) -> None:
    await harness.tenant("ape")
    now = harness.clock.now()
    for number in range(1, MAX_KEYS_PER_TENANT):
        ends = now + SECOND if number % 2 else None
        assert await harness.tenants.add_key(_key(f"key {number}", now, ends))
    assert not await harness.tenants.add_key(_key("too many", now))
    harness.clock.shift(SECOND)
    assert len(await harness.tenants.list_keys("ape")) == MAX_KEYS_PER_TENANT
    assert await harness.tenants.add_key(_key("new", harness.clock.now()))
    left = {use.api_key.digest for use in await harness.tenants.list_keys("ape")}
    even = {api_key_digest(f"key {number}") for number in range(2, MAX_KEYS_PER_TENANT, 2)}
    assert left == {api_key_digest("ape"), api_key_digest("new")} | even
    await harness.submit("ape")


def _key(text: str, created_at: datetime, expires_at: datetime | None = None) -> ApiKey:
    return ApiKey(api_key_digest(text), "ape", created_at, expires_at=expires_at)


async def test_the_pause_of_a_deleted_tenant_goes_with_it(harness: StoreHarness) -> None:
    await harness.tenant("ape")
    await harness.tenant("bee")
    for name in ("ape", "bee"):
        await harness.admin.pause(Pause.tenant(name))
    assert await harness.delete_tenant("ape")
    assert await harness.admin.list_pauses() == [Pause.tenant("bee")]


async def test_the_pause_of_a_deleted_tenant_holds_its_waiting_jobs(harness: StoreHarness) -> None:
    await harness.tenant("ape")
    await harness.admin.pause(Pause.tenant("ape"))
    waits = await harness.submit("ape")
    assert await harness.delete_tenant("ape")
    await harness.admin.dispatch()
    assert await harness.admin.list_pauses() == [Pause.tenant("ape")]
    await harness.update(waits.id, JobState.CANCELLED)
    await harness.admin.dispatch()
    assert await harness.admin.list_pauses() == []
