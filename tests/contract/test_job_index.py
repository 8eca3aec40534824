"""The list of a tenant's jobs: order, filters, pages during changes, removal."""

from dataclasses import replace
from datetime import timedelta
from itertools import count
from typing import Any

import pytest

from core.deduplication.coalescing import cancel_for_successor, handover
from core.errors import NotFound, NotPermitted, Unauthenticated
from core.jobs.job import FollowUp, Job, PublicStatus, Trigger
from core.jobs.query import Cursor, JobQuery, score_fraction_of, score_of
from core.page import Page
from core.retention import DELIVERY_RETENTION, RETENTION
from core.store.job_index import PRUNE_BATCH_SIZE, DeletionResult
from core.store.jobs import Projection
from core.tenants.api_keys import ApiKey, Credential, Scope
from core.tenants.cache_policy import CacheOption, CacheStatus
from core.tenants.tenant import Tenant
from core.transactions.admission import AdmissionResult, CacheRequest
from core.transactions.job_update import Change, WriteResult
from core.webhooks.delivery import DeliveryState
from tests.support.backends import StoreBackend
from tests.support.redis import is_close_to
from tests.support.store_steps import (
    SECOND,
    admission_of,
    admit_job,
    apply_triggers,
    attempt_completion,
    cancellation_change,
    claim_deliveries,
    delivery_for,
    new_job,
    tenant_credential,
)

MILLISECOND = timedelta(milliseconds=1)
CORRUPT_CURSORS = 'order 7, "ü\\'
RUNNING = (Trigger.CLAIMED, Trigger.ACCEPTED)
FAILED = (*RUNNING, Trigger.RUN_FAILED)


async def admit_next(backend: StoreBackend, name: str, **fields: Any) -> Job:  # noqa: ANN401 - fields of the record
    """Admit a job, one millisecond later than the one before."""
    backend.clock.move(MILLISECOND)
    job = replace(new_job(backend.clock.now(), name), **fields)
    await backend.jobs.admit(admission_of(job))
    return job


async def page_ids(backend: StoreBackend, query: JobQuery | None = None) -> list[str]:
    """The ids of one page."""
    page = await backend.job_index.list_page(tenant_credential(), query or JobQuery())
    return [job.id for job in page.items]


async def all_ids(backend: StoreBackend, query: JobQuery) -> list[str]:
    """The ids of each page."""
    found: list[str] = []
    while True:
        page = await backend.job_index.list_page(tenant_credential(), query)
        found += [job.id for job in page.items]
        if page.cursor is None:
            return found
        query = replace(query, cursor=page.cursor)


async def test_the_newest_comes_first_and_no_other_tenant_s(backend: StoreBackend) -> None:
    for name in ("req_b", "req_a", "req_c"):
        await admit_next(backend, name)
    await admit_job(backend, "req_z", "bob")
    assert await page_ids(backend) == ["req_c", "req_a", "req_b"]
    assert (await backend.job_index.list_page(tenant_credential("bob"), JobQuery())).items[
        0
    ].id == "req_z"


async def test_a_page_has_the_current_records(backend: StoreBackend) -> None:
    job = await apply_triggers(backend, await admit_next(backend, "req_1"), *RUNNING)
    assert await backend.job_index.list_page(tenant_credential(), JobQuery()) == Page((job,))


async def test_pages_follow_each_other_also_within_one_millisecond(backend: StoreBackend) -> None:
    names = [f"req_{number:02}" for number in range(11)]
    for name in names:
        await admit_job(backend, name)
    for limit in (1, 2, 3, 10, 11, 12):
        assert await all_ids(backend, JobQuery(limit=limit)) == names[::-1]


async def test_a_full_last_page_has_no_cursor(backend: StoreBackend) -> None:
    for number in range(4):
        await admit_next(backend, f"req_{number}")
    page = await backend.job_index.list_page(tenant_credential(), JobQuery(limit=2))
    assert page.cursor == Cursor(score_of(page.items[-1]), "req_2")
    page = await backend.job_index.list_page(
        tenant_credential(), JobQuery(limit=2, cursor=page.cursor)
    )
    assert page.cursor is None


async def test_nothing_is_repeated_or_lost_while_all_changes(backend: StoreBackend) -> None:
    jobs = [await admit_job(backend, f"req_{number:02}") for number in range(9)]
    first = await backend.job_index.list_page(tenant_credential(), JobQuery(limit=3))
    assert [job.id for job in first.items] == ["req_08", "req_07", "req_06"]
    # One is admitted with the cursor's own instant, one ends, the cursor's own job is deleted.
    await admit_job(backend, "req_99")
    await apply_triggers(backend, jobs[4], *FAILED)
    ended = await apply_triggers(backend, jobs[6], *FAILED)
    assert await backend.job_index.delete(ended) is DeletionResult.DELETED

    rest = await all_ids(backend, JobQuery(limit=2, cursor=first.cursor))
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
async def test_a_status_is_found(
    backend: StoreBackend, status: PublicStatus, names: list[str]
) -> None:
    await apply_triggers(
        backend,
        await admit_next(backend, "req_done"),
        *RUNNING,
        Trigger.FINISHED,
        Trigger.COLLECTED,
    )
    await apply_triggers(
        backend, await admit_next(backend, "req_cancelled"), Trigger.CANCEL_REQUESTED
    )
    await apply_triggers(backend, await admit_next(backend, "req_failed"), *FAILED)
    await apply_triggers(backend, await admit_next(backend, "req_late"), Trigger.DEADLINE_EXCEEDED)
    await apply_triggers(backend, await admit_next(backend, "req_waits_there"), *RUNNING)
    runs = await apply_triggers(backend, await admit_next(backend, "req_runs"), *RUNNING)
    told = runs.evolve(backend.clock.now(), upstream_running=True)
    assert await backend.jobs.store(Change(runs, told)) is WriteResult.STORED
    await admit_next(backend, "req_new")
    assert await page_ids(backend, JobQuery(status=status)) == names


async def test_a_reference_is_found_among_all_and_newest_first(backend: StoreBackend) -> None:
    await admit_next(backend, "req_1", reference=CORRUPT_CURSORS)
    await admit_next(backend, "req_2", reference="order 8")
    await apply_triggers(
        backend, await admit_next(backend, "req_3", reference=CORRUPT_CURSORS), *FAILED
    )
    await admit_next(backend, "req_4")
    await admit_next(backend, "req_5", reference=CORRUPT_CURSORS, model_id="flux/dev")
    query = JobQuery(reference=CORRUPT_CURSORS)
    assert await page_ids(backend, query) == ["req_5", "req_3", "req_1"]
    assert await all_ids(backend, replace(query, limit=1)) == ["req_5", "req_3", "req_1"]
    assert await page_ids(backend, replace(query, status=PublicStatus.IN_QUEUE)) == [
        "req_5",
        "req_1",
    ]
    assert await page_ids(backend, replace(query, model_id="kling/standard")) == ["req_3", "req_1"]
    assert await page_ids(backend, JobQuery(reference="order")) == []


async def test_a_label_is_found_with_the_other_filters(backend: StoreBackend) -> None:
    await admit_next(backend, "req_1", labels=("app=web", "team=a"))
    await admit_next(backend, "req_2", labels=("team=ab",))
    await admit_next(backend, "req_3", reference="team=a")
    failed = await admit_next(backend, "req_4", labels=("team=a",))
    await apply_triggers(backend, failed, *FAILED)
    assert await page_ids(backend, JobQuery(labels=("team=a",))) == ["req_4", "req_1"]
    assert await page_ids(backend, JobQuery(labels=("app=web", "team=a"))) == ["req_1"]
    assert await page_ids(backend, JobQuery(labels=("team=a",), status=PublicStatus.FAILED)) == [
        "req_4"
    ]
    first = await all_ids(backend, JobQuery(labels=("team=a",), limit=1))
    assert first == ["req_4", "req_1"]


async def test_a_page_by_reference_goes_on_where_its_last_job_was(backend: StoreBackend) -> None:
    jobs = [await admit_next(backend, f"req_{number}", reference="same") for number in range(5)]
    query = JobQuery(reference="same", limit=2)
    first = await backend.job_index.list_page(tenant_credential(), query)
    ended = await apply_triggers(backend, jobs[3], *FAILED)
    assert await backend.job_index.delete(ended) is DeletionResult.DELETED
    rest = await all_ids(backend, replace(query, cursor=first.cursor))
    assert rest == ["req_2", "req_1", "req_0"]


async def test_a_model_is_found_and_no_text_is_taken_for_it(backend: StoreBackend) -> None:
    await admit_next(backend, "req_1", model_id="kling/a")
    await admit_next(backend, "req_2", model_id="kling/ab")
    await admit_next(backend, "req_3", reference='"model_id":"kling/a"')
    assert await page_ids(backend, JobQuery(model_id="kling/a")) == ["req_1"]


async def test_instants_bound_a_page(backend: StoreBackend) -> None:
    jobs = [await admit_next(backend, f"req_{number}") for number in range(5)]
    after, before = jobs[1].created_at, jobs[3].created_at
    assert await page_ids(backend, JobQuery(created_after=after)) == [
        "req_4",
        "req_3",
        "req_2",
        "req_1",
    ]
    assert await page_ids(backend, JobQuery(created_before=before)) == ["req_2", "req_1", "req_0"]
    assert await page_ids(backend, JobQuery(created_after=after, created_before=before)) == [
        "req_2",
        "req_1",
    ]
    assert await all_ids(
        backend, JobQuery(created_after=after, created_before=before, limit=1)
    ) == [
        "req_2",
        "req_1",
    ]
    assert await page_ids(backend, JobQuery(created_after=before, created_before=after)) == []


async def test_models_with_a_common_part_are_distinguished(backend: StoreBackend) -> None:
    one = "kling/standard"
    other = next(
        name for n in count() if score_fraction_of(name := f"other/{n}") == score_fraction_of(one)
    )
    for name in ("req_1", "req_2", "req_3"):
        await admit_next(backend, name, model_id=other if name == "req_2" else one)
    assert await page_ids(backend, JobQuery(model_id=other)) == ["req_2"]
    assert await page_ids(backend, JobQuery(model_id=one)) == ["req_3", "req_1"]


@pytest.mark.parametrize(
    ("bound", "query"),
    [
        ("MAX_ENTRIES_SKIPPED", JobQuery(model_id="rare/one")),
        ("MAX_RECORDS_READ", JobQuery(status=PublicStatus.COMPLETED)),
    ],
)
async def test_a_page_reads_a_bounded_number_of_entries(
    backend: StoreBackend, monkeypatch: pytest.MonkeyPatch, bound: str, query: JobQuery
) -> None:
    for module in ("core.store.job_index", "tests.support.memory_store.job_index"):
        monkeypatch.setattr(f"{module}.{bound}", 3)
    rare = await admit_next(backend, "req_1", model_id="rare/one")
    await apply_triggers(backend, rare, *RUNNING, Trigger.FINISHED, Trigger.COLLECTED)
    for number in range(2, 8):
        await admit_next(backend, f"req_{number}")
    page = await backend.job_index.list_page(tenant_credential(), query)
    assert (page.items, page.cursor and page.cursor.job_id) == ((), "req_5")
    assert await all_ids(backend, query) == ["req_1"]


async def test_only_a_live_key_that_may_read_lists(backend: StoreBackend) -> None:
    now = backend.clock.now()
    writes = ApiKey("digest-writes", "ada", now, frozenset({Scope.SUBMIT}))
    assert await backend.tenants.add_key(writes)
    with pytest.raises(NotPermitted):
        await backend.job_index.list_page(Credential("ada", "digest-writes"), JobQuery())
    with pytest.raises(Unauthenticated):
        await backend.job_index.list_page(Credential("bob", "digest-ada"), JobQuery())
    await admit_next(backend, "req_1")
    assert len((await backend.job_index.list_page_for_tenant("ada", JobQuery())).items) == 1


# --- deleting


async def end_with_delivery(backend: StoreBackend, name: str = "req_1") -> Job:
    """A cancelled job whose delivery has succeeded."""
    job = await admit_job(backend, name)
    change = cancellation_change(job, backend.clock.now(), delivery_for(job, f"msg_{name}"))
    assert await backend.jobs.store(change) is WriteResult.STORED
    (each,) = await claim_deliveries(backend, 5)
    assert (
        await backend.deliveries.complete_attempt(attempt_completion(each))
    ).result is WriteResult.STORED
    return change.after


async def test_what_is_deleted_is_nowhere(backend: StoreBackend) -> None:
    job = await end_with_delivery(backend)
    assert await backend.job_index.delete(job) is DeletionResult.DELETED
    assert await backend.job_index.delete(job) is DeletionResult.NOT_FOUND
    with pytest.raises(NotFound):
        await backend.jobs.read(tenant_credential(), job.id, Projection.ALL)
    assert await backend.jobs.load_input(job.id) is None
    assert await backend.deliveries.load("msg_req_1") is None
    assert await backend.deliveries.list_attempts("msg_req_1") == []
    assert await backend.probe.timeline_length(job.id) == 0
    assert await backend.probe.tenant_jobs("ada") == {}
    assert await page_ids(backend, JobQuery(status=PublicStatus.CANCELLED)) == []


async def test_a_pending_delivery_keeps_its_job(backend: StoreBackend) -> None:
    job = await admit_job(backend)
    change = cancellation_change(job, backend.clock.now(), delivery_for(job))
    await backend.jobs.store(change)
    assert await backend.job_index.delete(change.after) is DeletionResult.HAS_PENDING_WORK
    (each,) = await claim_deliveries(backend, 5)
    assert await backend.job_index.delete(change.after) is DeletionResult.HAS_PENDING_WORK
    held = attempt_completion(each, state=DeliveryState.HELD)
    assert (await backend.deliveries.complete_attempt(held)).result is WriteResult.STORED
    assert await backend.job_index.delete(change.after) is DeletionResult.DELETED


async def test_a_follow_up_keeps_its_job(backend: StoreBackend) -> None:
    job = await apply_triggers(backend, await admit_job(backend), *RUNNING, Trigger.FINISHED)
    now = backend.clock.now()
    after = job.transition(
        Trigger.COLLECTED,
        now,
        next_run_at=now + SECOND,
        finished_at=now,
        follow_up=FollowUp.READ_COST,
    )
    assert await backend.jobs.store(Change(job, after)) is WriteResult.STORED
    assert await backend.job_index.delete(after) is DeletionResult.HAS_PENDING_WORK
    done = after.evolve(now, next_run_at=None, follow_up=None)
    assert await backend.jobs.store(Change(after, done)) is WriteResult.STORED
    assert await backend.job_index.delete(after) is DeletionResult.CONFLICT
    assert await backend.job_index.delete(done) is DeletionResult.DELETED


# --- retention by tenant


async def change_tenant(backend: StoreBackend, **wish: Any) -> None:  # noqa: ANN401 - fields of the record
    """Change fields of the tenant."""
    before = await backend.tenants.load("ada")
    assert before is not None
    assert await backend.tenants.change(before, replace(before, version=before.version + 1, **wish))


async def test_an_input_is_kept_until_it_cannot_be_sent_any_more(backend: StoreBackend) -> None:
    await change_tenant(backend, keep_inputs=False)
    job = await apply_triggers(
        backend, await admit_job(backend), Trigger.CLAIMED, Trigger.NO_ANSWER
    )
    assert await backend.jobs.load_input(job.id) is not None
    job = await apply_triggers(
        backend, job, Trigger.RESEND_APPROVED, Trigger.CLAIMED, Trigger.NOT_SENT
    )
    assert await backend.jobs.load_input(job.id) is not None
    await apply_triggers(backend, job, *RUNNING)
    assert await backend.jobs.load_input(job.id) is None


@pytest.mark.parametrize(
    "facts",
    [
        (Trigger.CANCEL_REQUESTED,),
        (Trigger.CLAIMED, Trigger.REJECTED),
        (Trigger.CLAIMED, Trigger.NO_ANSWER, Trigger.MARKED_LOST),
        (Trigger.CLAIMED, Trigger.NO_ANSWER, Trigger.ACCEPTED),
    ],
)
@pytest.mark.parametrize("kept", [True, False])
async def test_no_end_keeps_an_unwanted_input(
    backend: StoreBackend, facts: tuple[Trigger, ...], *, kept: bool
) -> None:
    await change_tenant(backend, keep_inputs=kept)
    await apply_triggers(backend, await admit_job(backend), *facts)
    is_unpaid_cancel = facts == (Trigger.CANCEL_REQUESTED,)
    assert (await backend.jobs.load_input("req_1") is not None) is (kept and not is_unpaid_cancel)


async def test_a_shorter_life_begins_with_the_end(backend: StoreBackend) -> None:
    await change_tenant(backend, result_ttl=60 * SECOND)
    await apply_triggers(backend, await admit_job(backend), *FAILED)
    assert is_close_to(await backend.probe.ttl_of_job("req_1"), 60 * SECOND)
    await change_tenant(backend, result_ttl=None)
    await apply_triggers(backend, await admit_job(backend, "req_2"), *FAILED)
    assert is_close_to(await backend.probe.ttl_of_job("req_2"), RETENTION)


async def test_no_life_is_shorter_than_a_day_after_the_last_delivery(backend: StoreBackend) -> None:
    await change_tenant(backend, result_ttl=60 * SECOND)
    job = await admit_job(backend)
    await backend.jobs.store(cancellation_change(job, backend.clock.now(), delivery_for(job)))
    assert is_close_to(await backend.probe.ttl_of_job("req_1"), RETENTION)
    (each,) = await claim_deliveries(backend, 5)
    later = backend.clock.now() + 5 * SECOND
    again = attempt_completion(each, state=DeliveryState.PENDING, next_attempt_at=later)
    await backend.deliveries.complete_attempt(again)
    assert is_close_to(await backend.probe.ttl_of_job("req_1"), RETENTION)
    backend.clock.move(5 * SECOND)
    (each,) = await claim_deliveries(backend, 5)
    await backend.deliveries.complete_attempt(attempt_completion(each))
    assert is_close_to(await backend.probe.ttl_of_job("req_1"), timedelta(hours=24))


async def test_a_longer_life_than_a_day_holds_after_the_delivery_too(
    backend: StoreBackend,
) -> None:
    await change_tenant(backend, result_ttl=timedelta(days=3))
    await end_with_delivery(backend)
    assert is_close_to(await backend.probe.ttl_of_job("req_1"), timedelta(days=3))


async def test_what_it_cost_is_awaited_before_a_short_life_begins(backend: StoreBackend) -> None:
    await change_tenant(backend, result_ttl=60 * SECOND)
    job = await apply_triggers(backend, await admit_job(backend), *RUNNING, Trigger.FINISHED)
    now = backend.clock.now()
    after = job.transition(
        Trigger.COLLECTED,
        now,
        next_run_at=now + SECOND,
        finished_at=now,
        follow_up=FollowUp.READ_COST,
    )
    await backend.jobs.store(Change(job, after))
    assert is_close_to(await backend.probe.ttl_of_job("req_1"), RETENTION)
    done = after.evolve(now, next_run_at=None, follow_up=None)
    await backend.jobs.store(Change(after, done))
    assert is_close_to(await backend.probe.ttl_of_job("req_1"), 60 * SECOND)


async def submit_sharing(backend: StoreBackend, name: str) -> AdmissionResult:
    """Submit a request that may share work."""
    wish = replace(admission_of(new_job(backend.clock.now(), name)), cache=CacheRequest())
    return await backend.jobs.admit(wish)


async def test_a_successor_keeps_no_unwanted_input(backend: StoreBackend) -> None:
    await change_tenant(backend, keep_inputs=False)
    await submit_sharing(backend, "req_1")
    await submit_sharing(backend, "req_2")
    leader, successor = [await backend.jobs.load(name) for name in ("req_1", "req_2")]
    assert leader is not None
    assert successor is not None
    running = await apply_triggers(backend, leader.job, *RUNNING)
    assert await backend.jobs.load_input("req_2") is not None
    now = backend.clock.now()
    change = handover(running, cancel_for_successor(running, now), successor.job, now)
    assert await backend.jobs.store(change) is WriteResult.STORED
    assert await backend.jobs.load_input("req_2") is None
    assert await page_ids(backend, JobQuery(status=PublicStatus.CANCELLED)) == ["req_1"]


# --- trimming


async def test_jobs_whose_records_are_gone_leave_the_indexes(backend: StoreBackend) -> None:
    for name in ("req_1", "req_2", "req_3"):
        await apply_triggers(backend, await admit_next(backend, name, reference=name), *FAILED)
    for name in ("req_1", "req_3"):
        await backend.probe.forget_job(name)
    horizon = backend.clock.now() + DELIVERY_RETENTION
    early = backend.clock.now() - timedelta(days=1)
    assert await backend.job_index.prune("ada", 0, early) == (0, None)
    assert await backend.job_index.prune("ada", 0, horizon) == (2, None)
    assert set(await backend.probe.tenant_jobs("ada")) == {"req_2"}
    assert await all_ids(backend, JobQuery(limit=1)) == ["req_2"]
    assert await all_ids(backend, JobQuery(limit=1, status=PublicStatus.FAILED)) == ["req_2"]


async def test_steps_of_trimming_are_bounded_and_miss_none_of_one_moment(
    backend: StoreBackend,
) -> None:
    names = [f"req_{number:04}" for number in range(2 * PRUNE_BATCH_SIZE + 3)]
    for name in names:
        await admit_job(backend, name)
    for name in names[1:]:
        await backend.probe.forget_job(name)
    horizon = backend.clock.now() + SECOND
    assert await backend.job_index.prune("ada", 0, horizon) == (PRUNE_BATCH_SIZE - 1, 1)
    assert await backend.job_index.prune("ada", 1, horizon) == (PRUNE_BATCH_SIZE, 1)
    assert await backend.job_index.prune("ada", 1, horizon) == (3, None)
    assert set(await backend.probe.tenant_jobs("ada")) == {names[0]}


async def test_one_worker_trims_at_a_time(backend: StoreBackend) -> None:
    assert await backend.job_index.acquire_prune_lock("one", 60 * SECOND)
    assert not await backend.job_index.acquire_prune_lock("two", 60 * SECOND)


def test_retention_options_are_off_by_default(backend: StoreBackend) -> None:
    tenant = Tenant("ada", backend.clock.now())
    assert (tenant.keep_inputs, tenant.result_ttl) == (True, None)


async def test_a_deleted_request_serves_no_hit(backend: StoreBackend) -> None:
    statuses, ended = [], new_job(backend.clock.now())
    for name in ("req_1", "req_2", "req_3"):
        wish = admission_of(new_job(backend.clock.now(), name))
        admitted = await backend.jobs.admit(replace(wish, cache=CacheRequest(CacheOption.USE)))
        statuses.append(admitted.cache_status)
        if name == "req_1":
            job = (await backend.job_index.list_page_for_tenant("ada", JobQuery())).items[0]
            running = await apply_triggers(backend, job, *RUNNING, Trigger.FINISHED)
            now = backend.clock.now()
            ended = running.transition(Trigger.COLLECTED, now, next_run_at=None, finished_at=now)
            change = Change(running, ended, output=b"{}")
            assert await backend.jobs.store(change) is WriteResult.STORED
        elif name == "req_2":
            assert await backend.job_index.delete(ended) is DeletionResult.DELETED
    assert statuses == [CacheStatus.MISS, CacheStatus.HIT, CacheStatus.MISS]
