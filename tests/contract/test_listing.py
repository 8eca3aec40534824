"""The list of a tenant's jobs: its order, its filters, its pages under change, what leaves it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from core.deduplication.coalescing import cancelled_for_heir, handover
from core.errors import NotFound, NotPermitted, Unauthenticated
from core.jobs.job import Errand, Fact, Job, PublicStatus
from core.jobs.query import Cursor, JobPage, JobQuery, part_of, place_of
from core.retention import DELIVERY_LIFE, RETENTION
from core.store.job_index import TRIM_STEP, Deletion
from core.store.jobs import Depth
from core.tenants.api_keys import Credential, KeyRecord, Scope
from core.tenants.tenant import Tenant
from core.transactions.admission import ReuseRequest
from core.transactions.job_update import Change, Outcome
from core.webhooks.delivery import DeliveryState
from tests.contract.orders import (
    SECOND,
    admission,
    admitted,
    cancelled,
    credential,
    moved,
    new_job,
    notice,
)
from tests.contract.test_outbox import claim, settlement

if TYPE_CHECKING:
    from core.transactions.admission import Admitted
    from tests.contract.subjects import Subject

MILLISECOND = timedelta(milliseconds=1)
ODD = 'order 7, "ü\\'
RUNNING = (Fact.CLAIMED, Fact.ACCEPTED)
FAILED = (*RUNNING, Fact.BROKE)


async def take(subject: Subject, name: str, **fields: Any) -> Job:  # noqa: ANN401 - fields of the record
    """A job that was taken in this moment, its own millisecond later than the one before."""
    subject.clock.move(MILLISECOND)
    job = replace(new_job(subject.clock.now(), name), **fields)
    await subject.jobs.admit(admission(job))
    return job


async def listed(subject: Subject, query: JobQuery | None = None) -> list[str]:
    """Ids of one page."""
    page = await subject.listed.page(credential(), query or JobQuery())
    return [job.id for job in page.jobs]


async def walked(subject: Subject, query: JobQuery) -> list[str]:
    """Ids of all pages."""
    found: list[str] = []
    while True:
        page = await subject.listed.page(credential(), query)
        found += [job.id for job in page.jobs]
        if page.cursor is None:
            return found
        query = replace(query, cursor=page.cursor)


async def test_the_newest_comes_first_and_no_other_tenant_s(subject: Subject) -> None:
    for name in ("req_b", "req_a", "req_c"):
        await take(subject, name)
    await admitted(subject, "req_z", "bob")
    assert await listed(subject) == ["req_c", "req_a", "req_b"]
    assert (await subject.listed.page(credential("bob"), JobQuery())).jobs[0].id == "req_z"


async def test_the_records_are_as_they_stand(subject: Subject) -> None:
    job = await moved(subject, await take(subject, "req_1"), *RUNNING)
    assert await subject.listed.page(credential(), JobQuery()) == JobPage((job,))


async def test_pages_follow_each_other_also_within_one_millisecond(subject: Subject) -> None:
    names = [f"req_{number:02}" for number in range(11)]
    for name in names:
        await admitted(subject, name)
    for limit in (1, 2, 3, 10, 11, 12):
        assert await walked(subject, JobQuery(limit=limit)) == names[::-1]


async def test_a_full_last_page_has_no_cursor(subject: Subject) -> None:
    for number in range(4):
        await take(subject, f"req_{number}")
    page = await subject.listed.page(credential(), JobQuery(limit=2))
    assert page.cursor == Cursor(place_of(page.jobs[-1]), "req_2")
    page = await subject.listed.page(credential(), JobQuery(limit=2, cursor=page.cursor))
    assert page.cursor is None


async def test_nothing_is_repeated_or_lost_while_all_changes(subject: Subject) -> None:
    jobs = [await admitted(subject, f"req_{number:02}") for number in range(9)]
    first = await subject.listed.page(credential(), JobQuery(limit=3))
    assert [job.id for job in first.jobs] == ["req_08", "req_07", "req_06"]
    # One is admitted with the cursor's own instant, one ends, the cursor's own job is deleted.
    await admitted(subject, "req_99")
    await moved(subject, jobs[4], *FAILED)
    ended = await moved(subject, jobs[6], *FAILED)
    assert await subject.listed.delete(ended) is Deletion.DELETED

    rest = await walked(subject, JobQuery(limit=2, cursor=first.cursor))
    assert rest == ["req_05", "req_04", "req_03", "req_02", "req_01", "req_00"]


@pytest.mark.parametrize(
    ("status", "names"),
    [
        (PublicStatus.IN_QUEUE, ["req_new", "req_waits_there"]),
        (PublicStatus.IN_PROGRESS, ["req_runs"]),
        (PublicStatus.COMPLETED, ["req_done"]),
        (PublicStatus.FAILED, ["req_late", "req_failed"]),
        (PublicStatus.CANCELLED, ["req_cancelled"]),
    ],
)
async def test_a_status_is_found(subject: Subject, status: PublicStatus, names: list[str]) -> None:
    await moved(subject, await take(subject, "req_done"), *RUNNING, Fact.FINISHED, Fact.COLLECTED)
    await moved(subject, await take(subject, "req_cancelled"), Fact.CANCEL_ASKED)
    await moved(subject, await take(subject, "req_failed"), *FAILED)
    await moved(subject, await take(subject, "req_late"), Fact.OUT_OF_TIME)
    await moved(subject, await take(subject, "req_waits_there"), *RUNNING)
    runs = await moved(subject, await take(subject, "req_runs"), *RUNNING)
    told = runs.noted(subject.clock.now(), upstream_running=True)
    assert await subject.jobs.store(Change(runs, told)) is Outcome.STORED
    await take(subject, "req_new")
    assert await listed(subject, JobQuery(status=status)) == names


async def test_a_reference_is_found_among_all_and_newest_first(subject: Subject) -> None:
    await take(subject, "req_1", reference=ODD)
    await take(subject, "req_2", reference="order 8")
    await moved(subject, await take(subject, "req_3", reference=ODD), *FAILED)
    await take(subject, "req_4")
    await take(subject, "req_5", reference=ODD, model_id="flux/dev")
    query = JobQuery(reference=ODD)
    assert await listed(subject, query) == ["req_5", "req_3", "req_1"]
    assert await walked(subject, replace(query, limit=1)) == ["req_5", "req_3", "req_1"]
    assert await listed(subject, replace(query, status=PublicStatus.IN_QUEUE)) == ["req_5", "req_1"]
    assert await listed(subject, replace(query, model_id="kling/standard")) == ["req_3", "req_1"]
    assert await listed(subject, JobQuery(reference="order")) == []


async def test_a_page_by_reference_goes_on_where_its_last_job_was(subject: Subject) -> None:
    jobs = [await take(subject, f"req_{number}", reference="same") for number in range(5)]
    query = JobQuery(reference="same", limit=2)
    first = await subject.listed.page(credential(), query)
    ended = await moved(subject, jobs[3], *FAILED)
    assert await subject.listed.delete(ended) is Deletion.DELETED
    rest = await walked(subject, replace(query, cursor=first.cursor))
    assert rest == ["req_2", "req_1", "req_0"]


async def test_a_model_is_found_and_no_text_is_taken_for_it(subject: Subject) -> None:
    await take(subject, "req_1", model_id="kling/a")
    await take(subject, "req_2", model_id="kling/ab")
    await take(subject, "req_3", reference='"model_id":"kling/a"')
    assert await listed(subject, JobQuery(model_id="kling/a")) == ["req_1"]


async def test_instants_bound_a_page(subject: Subject) -> None:
    jobs = [await take(subject, f"req_{number}") for number in range(5)]
    after, before = jobs[1].created_at, jobs[3].created_at
    assert await listed(subject, JobQuery(after=after)) == ["req_4", "req_3", "req_2", "req_1"]
    assert await listed(subject, JobQuery(before=before)) == ["req_2", "req_1", "req_0"]
    assert await listed(subject, JobQuery(after=after, before=before)) == ["req_2", "req_1"]
    assert await walked(subject, JobQuery(after=after, before=before, limit=1)) == [
        "req_2",
        "req_1",
    ]
    assert await listed(subject, JobQuery(after=before, before=after)) == []


async def test_models_that_share_a_part_are_told_apart(subject: Subject) -> None:
    one = "kling/standard"
    other = next(name for n in count() if part_of(name := f"other/{n}") == part_of(one))
    for name in ("req_1", "req_2", "req_3"):
        await take(subject, name, model_id=other if name == "req_2" else one)
    assert await listed(subject, JobQuery(model_id=other)) == ["req_2"]
    assert await listed(subject, JobQuery(model_id=one)) == ["req_3", "req_1"]


@pytest.mark.parametrize(
    ("bound", "query"),
    [
        ("MOST_PASSED", JobQuery(model_id="rare/one")),
        ("MOST_READ", JobQuery(status=PublicStatus.COMPLETED)),
    ],
)
async def test_a_page_looks_at_no_more_than_so_many(
    subject: Subject, monkeypatch: pytest.MonkeyPatch, bound: str, query: JobQuery
) -> None:
    for module in ("core.store.job_index", "tests.fakes.listing"):
        monkeypatch.setattr(f"{module}.{bound}", 3)
    rare = await take(subject, "req_1", model_id="rare/one")
    await moved(subject, rare, *RUNNING, Fact.FINISHED, Fact.COLLECTED)
    for number in range(2, 8):
        await take(subject, f"req_{number}")
    page = await subject.listed.page(credential(), query)
    assert (page.jobs, page.cursor and page.cursor.job_id) == ((), "req_5")
    assert await walked(subject, query) == ["req_1"]


async def test_only_a_live_key_that_may_read_lists(subject: Subject) -> None:
    now = subject.clock.now()
    writes = KeyRecord("digest-writes", "ada", now, frozenset({Scope.SUBMIT}))
    assert await subject.tenants.add_key(writes)
    with pytest.raises(NotPermitted):
        await subject.listed.page(Credential("ada", "digest-writes"), JobQuery())
    with pytest.raises(Unauthenticated):
        await subject.listed.page(Credential("bob", "digest-ada"), JobQuery())
    await take(subject, "req_1")
    assert len((await subject.listed.page_of("ada", JobQuery())).jobs) == 1


# --- deleting


async def ended_and_told(subject: Subject, name: str = "req_1") -> Job:
    """A cancelled job whose callback has arrived."""
    job = await admitted(subject, name)
    change = cancelled(job, subject.clock.now(), notice(job, f"msg_{name}"))
    assert await subject.jobs.store(change) is Outcome.STORED
    (each,) = await claim(subject, 5)
    assert (await subject.deliveries.settle(settlement(each))).outcome is Outcome.STORED
    return change.after


async def test_what_is_deleted_is_nowhere(subject: Subject) -> None:
    job = await ended_and_told(subject)
    assert await subject.listed.delete(job) is Deletion.DELETED
    assert await subject.listed.delete(job) is Deletion.UNKNOWN
    with pytest.raises(NotFound):
        await subject.jobs.read(credential(), job.id, Depth.ALL)
    assert await subject.jobs.input(job.id) is None
    assert await subject.deliveries.load("msg_req_1") is None
    assert await subject.deliveries.attempts("msg_req_1") == []
    assert await subject.probe.lines(job.id) == 0
    assert await subject.probe.tenant_jobs("ada") == {}
    assert await listed(subject, JobQuery(status=PublicStatus.CANCELLED)) == []


async def test_a_callback_that_is_to_come_keeps_its_job(subject: Subject) -> None:
    job = await admitted(subject)
    change = cancelled(job, subject.clock.now(), notice(job))
    await subject.jobs.store(change)
    assert await subject.listed.delete(change.after) is Deletion.AWAITED
    (each,) = await claim(subject, 5)
    assert await subject.listed.delete(change.after) is Deletion.AWAITED
    held = settlement(each, state=DeliveryState.HELD)
    assert (await subject.deliveries.settle(held)).outcome is Outcome.STORED
    assert await subject.listed.delete(change.after) is Deletion.DELETED


async def test_an_errand_keeps_its_job(subject: Subject) -> None:
    job = await moved(subject, await admitted(subject), *RUNNING, Fact.FINISHED)
    now = subject.clock.now()
    after = job.after(
        Fact.COLLECTED, now, due_at=now + SECOND, finished_at=now, errand=Errand.READ_COST
    )
    assert await subject.jobs.store(Change(job, after)) is Outcome.STORED
    assert await subject.listed.delete(after) is Deletion.AWAITED
    done = after.noted(now, due_at=None, errand=None)
    assert await subject.jobs.store(Change(after, done)) is Outcome.STORED
    assert await subject.listed.delete(after) is Deletion.STALE
    assert await subject.listed.delete(done) is Deletion.DELETED


# --- what a tenant lets be kept


async def settle_for(subject: Subject, **wish: Any) -> None:  # noqa: ANN401 - fields of the record
    """Change the tenant."""
    before = await subject.tenants.load("ada")
    assert before is not None
    assert await subject.tenants.change(before, replace(before, version=before.version + 1, **wish))


async def test_an_input_is_kept_until_it_can_no_more_be_sent(subject: Subject) -> None:
    await settle_for(subject, keep_inputs=False)
    job = await moved(subject, await admitted(subject), Fact.CLAIMED, Fact.NO_ANSWER)
    assert await subject.jobs.input(job.id) is not None
    job = await moved(subject, job, Fact.RESEND_APPROVED, Fact.CLAIMED, Fact.NOT_SENT)
    assert await subject.jobs.input(job.id) is not None
    await moved(subject, job, *RUNNING)
    assert await subject.jobs.input(job.id) is None


@pytest.mark.parametrize(
    "facts",
    [
        (Fact.CANCEL_ASKED,),
        (Fact.CLAIMED, Fact.REJECTED),
        (Fact.CLAIMED, Fact.NO_ANSWER, Fact.GIVEN_UP),
        (Fact.CLAIMED, Fact.NO_ANSWER, Fact.ACCEPTED),
    ],
)
@pytest.mark.parametrize("kept", [True, False])
async def test_no_end_keeps_an_unwanted_input(
    subject: Subject, facts: tuple[Fact, ...], *, kept: bool
) -> None:
    await settle_for(subject, keep_inputs=kept)
    await moved(subject, await admitted(subject), *facts)
    assert (await subject.jobs.input("req_1") is not None) is kept


def about(life: timedelta | None, span: timedelta) -> bool:
    """Whether a record lives so long: Redis' own clock runs on while a test looks."""
    return life is not None and abs(life - span) < SECOND


async def test_a_shorter_life_begins_with_the_end(subject: Subject) -> None:
    await settle_for(subject, result_ttl=60 * SECOND)
    await moved(subject, await admitted(subject), *FAILED)
    assert about(await subject.probe.life_of_job("req_1"), 60 * SECOND)
    await settle_for(subject, result_ttl=None)
    await moved(subject, await admitted(subject, "req_2"), *FAILED)
    assert about(await subject.probe.life_of_job("req_2"), RETENTION)


async def test_no_life_is_shorter_than_a_day_after_the_last_callback(subject: Subject) -> None:
    await settle_for(subject, result_ttl=60 * SECOND)
    job = await admitted(subject)
    await subject.jobs.store(cancelled(job, subject.clock.now(), notice(job)))
    assert about(await subject.probe.life_of_job("req_1"), RETENTION)
    (each,) = await claim(subject, 5)
    later = subject.clock.now() + 5 * SECOND
    again = settlement(each, state=DeliveryState.PENDING, due_at=later)
    await subject.deliveries.settle(again)
    assert about(await subject.probe.life_of_job("req_1"), RETENTION)
    subject.clock.move(5 * SECOND)
    (each,) = await claim(subject, 5)
    await subject.deliveries.settle(settlement(each))
    assert about(await subject.probe.life_of_job("req_1"), timedelta(hours=24))


async def test_a_longer_life_than_a_day_is_kept_to_after_the_callback(subject: Subject) -> None:
    await settle_for(subject, result_ttl=timedelta(days=3))
    await ended_and_told(subject)
    assert about(await subject.probe.life_of_job("req_1"), timedelta(days=3))


async def test_what_it_cost_is_awaited_before_a_short_life_begins(subject: Subject) -> None:
    await settle_for(subject, result_ttl=60 * SECOND)
    job = await moved(subject, await admitted(subject), *RUNNING, Fact.FINISHED)
    now = subject.clock.now()
    after = job.after(
        Fact.COLLECTED, now, due_at=now + SECOND, finished_at=now, errand=Errand.READ_COST
    )
    await subject.jobs.store(Change(job, after))
    assert about(await subject.probe.life_of_job("req_1"), RETENTION)
    done = after.noted(now, due_at=None, errand=None)
    await subject.jobs.store(Change(after, done))
    assert about(await subject.probe.life_of_job("req_1"), 60 * SECOND)


async def asked(subject: Subject, name: str) -> Admitted:
    """A submit that may share."""
    wish = replace(admission(new_job(subject.clock.now(), name)), reuse=ReuseRequest())
    return await subject.jobs.admit(wish)


async def test_who_takes_over_what_runs_keeps_no_unwanted_input(subject: Subject) -> None:
    await settle_for(subject, keep_inputs=False)
    await asked(subject, "req_1")
    await asked(subject, "req_2")
    leader, heir = [await subject.jobs.load(name) for name in ("req_1", "req_2")]
    assert leader is not None
    assert heir is not None
    running = await moved(subject, leader.job, *RUNNING)
    assert await subject.jobs.input("req_2") is not None
    now = subject.clock.now()
    change = handover(running, cancelled_for_heir(running, now), heir.job, now)
    assert await subject.jobs.store(change) is Outcome.STORED
    assert await subject.jobs.input("req_2") is None
    assert await listed(subject, JobQuery(status=PublicStatus.CANCELLED)) == ["req_1"]


# --- trimming


async def test_jobs_whose_records_are_gone_leave_the_indexes(subject: Subject) -> None:
    for name in ("req_1", "req_2", "req_3"):
        await moved(subject, await take(subject, name, reference=name), *FAILED)
    for name in ("req_1", "req_3"):
        await subject.probe.forget_job(name)
    horizon = subject.clock.now() + DELIVERY_LIFE
    early = subject.clock.now() - timedelta(days=1)
    assert await subject.listed.trim("ada", 0, early) == (0, None)
    assert await subject.listed.trim("ada", 0, horizon) == (2, None)
    assert set(await subject.probe.tenant_jobs("ada")) == {"req_2"}
    assert await walked(subject, JobQuery(limit=1)) == ["req_2"]
    assert await walked(subject, JobQuery(limit=1, status=PublicStatus.FAILED)) == ["req_2"]


async def test_steps_of_trimming_are_bounded_and_miss_none_of_one_moment(
    subject: Subject,
) -> None:
    names = [f"req_{number:04}" for number in range(2 * TRIM_STEP + 3)]
    for name in names:
        await admitted(subject, name)
    for name in names[1:]:
        await subject.probe.forget_job(name)
    horizon = subject.clock.now() + SECOND
    assert await subject.listed.trim("ada", 0, horizon) == (TRIM_STEP - 1, 1)
    assert await subject.listed.trim("ada", 1, horizon) == (TRIM_STEP, 1)
    assert await subject.listed.trim("ada", 1, horizon) == (3, None)
    assert set(await subject.probe.tenant_jobs("ada")) == {names[0]}


async def test_one_worker_trims_at_a_time(subject: Subject) -> None:
    assert await subject.listed.take_turn("one", 60 * SECOND)
    assert not await subject.listed.take_turn("two", 60 * SECOND)


def test_the_tenant_s_wishes_are_off_by_default(subject: Subject) -> None:
    tenant = Tenant("ada", subject.clock.now())
    assert (tenant.keep_inputs, tenant.result_ttl) == (True, None)
