"""Batches: one admission of many jobs, counts by status, and one completion event."""

from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

import pytest

from core.batches import AdmissionMode, Batch, BatchCounts, BatchStatus
from core.errors import IdempotencyMismatch, LimitReached, NotFound, Unauthenticated
from core.jobs.job import Job, JobState, Trigger
from core.tenants.api_keys import Credential
from core.tenants.cache_policy import CacheOption, CacheStatus
from core.tenants.limits import Limits
from core.transactions.admission import (
    Admission,
    BatchAdmission,
    BatchAdmissionResult,
    CacheRequest,
    IdempotencyClaim,
)
from core.transactions.job_update import Change, WriteResult
from tests.support.backends import StoreBackend
from tests.support.store_steps import (
    SECOND,
    admission_of,
    enqueue_jobless_delivery,
    new_job,
    tenant_credential,
    timeline_entry,
)

pytestmark = pytest.mark.parametrize("backend", ["memory", "redis", "redis-parts"], indirect=True)

ALL: Final = range(1000)
LEASE: Final = timedelta(seconds=30)
SHARING: Final = CacheRequest(CacheOption.USE)


def jobs_of(backend: StoreBackend, *names: str, batch: str = "bat_1") -> list[Job]:
    now = backend.clock.now()
    jobs = [new_job(now, f"req_{name}") for name in names]
    return [replace(job, fingerprint=f"1:{job.id}", batch=batch, next_run_at=None) for job in jobs]


def batch_of(backend: StoreBackend, *admissions: Admission, **changes: Any) -> BatchAdmission:  # noqa: ANN401 - fields of the record
    """A batch of the jobs; `refused` items are placed between them."""
    refused = changes.pop("refused", {})
    key = changes.pop("idempotency", None)
    size = len(admissions) + len(refused)
    record = Batch("bat_1", "ada", backend.clock.now(), size, reference="films")
    claim = IdempotencyClaim(key, "b1:x") if key else None
    return BatchAdmission(replace(record, **changes), admissions, refused, claim)


async def admit_batch(backend: StoreBackend, *jobs: Job, **changes: Any) -> BatchAdmissionResult:  # noqa: ANN401 - fields of the record
    return await backend.batches.admit(batch_of(backend, *map(admission_of, jobs), **changes))


async def set_limits(backend: StoreBackend, limits: Limits) -> None:
    before = await backend.tenants.load("ada")
    assert before is not None
    after = replace(before, limits=limits, version=before.version + 1)
    assert await backend.tenants.change(before, after)


async def end_job(
    backend: StoreBackend, job: Job, fact: Trigger = Trigger.CANCEL_REQUESTED
) -> None:
    record = await backend.jobs.load(job.id)
    assert record is not None
    now = backend.clock.now()
    after = record.job.transition(fact, now, next_run_at=None, finished_at=now)
    assert await backend.jobs.store(Change(record.job, after)) is WriteResult.STORED


async def batch_counts(backend: StoreBackend, batch: str = "bat_1") -> BatchCounts:
    view = await backend.batches.load(batch)
    assert view is not None
    return view.counts


async def test_a_batch_is_read_as_it_was_admitted(backend: StoreBackend) -> None:
    jobs, problem = jobs_of(backend, "a", "b"), b'{"code":"invalid_input"}'
    done = await admit_batch(
        backend, *jobs, refused={1: problem}, admission_mode=AdmissionMode.PARTIAL
    )
    assert done.stored
    view = await backend.batches.read(tenant_credential(), "bat_1", ALL)
    assert (view.batch.reference, view.batch.size, view.status) == ("films", 3, "in_progress")
    assert view.counts == BatchCounts(in_queue=2)
    assert [item.job_id for item in view.items] == ["req_a", None, "req_b"]
    assert [item.job.id for item in view.items if item.job] == ["req_a", "req_b"]
    assert view.items[1].rejection == problem
    assert {item.cache_status for item in view.items} == {CacheStatus.BYPASS, None}


async def test_a_page_of_items_is_read(backend: StoreBackend) -> None:
    await admit_batch(backend, *jobs_of(backend, "a", "b", "c"))
    view = await backend.batches.read(tenant_credential(), "bat_1", range(1, 2))
    assert [(item.index, item.job_id) for item in view.items] == [(1, "req_b")]
    assert (await backend.batches.read(tenant_credential(), "bat_1", range(3, 8))).items == ()


async def test_nobody_else_reads_it(backend: StoreBackend) -> None:
    await admit_batch(backend, *jobs_of(backend, "a"))
    with pytest.raises(NotFound):
        await backend.batches.read(tenant_credential("bob"), "bat_1", ALL)
    with pytest.raises(NotFound):
        await backend.batches.read(tenant_credential(), "bat_2", ALL)
    with pytest.raises(Unauthenticated):
        await backend.batches.read(Credential("ada", "digest-bob"), "bat_1", ALL)


async def test_all_or_nothing(backend: StoreBackend) -> None:
    await set_limits(backend, Limits(jobs_per_day=2))
    jobs = jobs_of(backend, "a", "b", "c")
    done = await admit_batch(backend, *jobs)
    assert not done.stored
    assert [type(verdict) for verdict in done.results] == [type(None), type(None), LimitReached]
    assert await backend.batches.load("bat_1") is None
    assert await backend.jobs.load("req_a") is None
    assert await backend.probe.states() == {}
    assert await backend.probe.tenant_jobs("ada") == {}
    assert (await admit_batch(backend, *jobs[:2])).stored  # nothing was used up


async def test_what_fits_is_admitted_and_the_rest_is_rejected_with_its_reason(
    backend: StoreBackend,
) -> None:
    await set_limits(backend, Limits(jobs_per_day=2))
    done = await admit_batch(
        backend, *jobs_of(backend, "a", "b", "c"), admission_mode=AdmissionMode.PARTIAL
    )
    assert done.stored
    assert [type(verdict).__name__ for verdict in done.results] == [
        "AdmissionResult",
        "AdmissionResult",
        "LimitReached",
    ]
    view = await backend.batches.read(tenant_credential(), "bat_1", ALL)
    refused = view.items[2].rejection
    assert isinstance(refused, LimitReached)
    assert refused.policy == "jobs-per-day"
    assert view.counts.admitted == 2


async def test_of_what_does_not_fit_at_all_there_is_no_batch(backend: StoreBackend) -> None:
    await set_limits(backend, Limits(jobs_per_day=0))
    done = await admit_batch(
        backend, *jobs_of(backend, "a"), admission_mode=AdmissionMode.PARTIAL, idempotency="k"
    )
    assert not done.stored
    assert await backend.batches.load("bat_1") is None
    await set_limits(backend, Limits())
    again = await admit_batch(
        backend, *jobs_of(backend, "a"), admission_mode=AdmissionMode.PARTIAL, idempotency="k"
    )
    assert again.stored  # the key was not used up


async def test_a_key_leads_to_the_first_batch(backend: StoreBackend) -> None:
    await admit_batch(backend, *jobs_of(backend, "a"), idempotency="k")
    second = jobs_of(backend, "b", batch="bat_2")
    again = await admit_batch(backend, *second, id="bat_2", idempotency="k")
    assert (again.stored, again.existing_batch_id, again.results) == (False, "bat_1", ())
    assert await backend.jobs.load("req_b") is None
    other = replace(
        batch_of(backend, *map(admission_of, second), id="bat_2", idempotency="k"),
        idempotency=IdempotencyClaim("k", "b1:y"),
    )
    with pytest.raises(IdempotencyMismatch):
        await backend.batches.admit(other)


async def test_a_key_can_be_looked_up_without_a_batch_to_admit(backend: StoreBackend) -> None:
    caller, claim = tenant_credential("ada"), IdempotencyClaim("k", "b1:x")
    assert await backend.batches.find_replay(caller, claim) is None
    await admit_batch(backend, *jobs_of(backend, "a"), idempotency="k")
    assert await backend.batches.find_replay(caller, claim) == "bat_1"
    assert await backend.batches.find_replay(tenant_credential("bob"), claim) is None
    with pytest.raises(IdempotencyMismatch):
        await backend.batches.find_replay(caller, IdempotencyClaim("k", "b1:y"))


async def test_a_submit_may_not_use_a_batchs_key(backend: StoreBackend) -> None:
    await admit_batch(backend, *jobs_of(backend, "a"), idempotency="k")
    single = replace(
        admission_of(new_job(backend.clock.now(), "req_9")),
        idempotency=IdempotencyClaim("k", "1:f"),
    )
    with pytest.raises(IdempotencyMismatch):
        await backend.jobs.admit(single)


async def test_identical_items_share_one_paid_job(backend: StoreBackend) -> None:
    jobs = [replace(job, fingerprint="1:same") for job in jobs_of(backend, "a", "b", "c")]
    asked = [replace(admission_of(job), cache=SHARING) for job in jobs]
    done = await backend.batches.admit(batch_of(backend, *asked))
    assert [verdict.cache_status for verdict in done.results] == ["miss", "joined", "joined"]  # type: ignore[union-attr]  # all were admitted
    assert await backend.probe.states() == {"queued": 1, "following": 2}
    assert await batch_counts(backend) == BatchCounts(in_queue=3)
    record = await backend.jobs.load("req_c")
    assert record is not None
    assert record.job.leader == "req_a"


async def test_the_counts_go_with_the_jobs(backend: StoreBackend) -> None:
    a, b = jobs_of(backend, "a", "b")
    await admit_batch(backend, a, b)
    record = await backend.jobs.load(a.id)
    assert record is not None
    claimed = record.job.transition(
        Trigger.CLAIMED, backend.clock.now(), next_run_at=backend.clock.now()
    )
    runs = claimed.transition(Trigger.ACCEPTED, backend.clock.now(), upstream_running=True)
    assert await backend.jobs.store(Change(record.job, claimed)) is WriteResult.STORED
    assert await backend.jobs.store(Change(claimed, runs)) is WriteResult.STORED
    assert await batch_counts(backend) == BatchCounts(in_queue=1, in_progress=1)
    failed = runs.transition(Trigger.RUN_FAILED, backend.clock.now(), next_run_at=None)
    assert await backend.jobs.store(Change(runs, failed)) is WriteResult.STORED
    assert await batch_counts(backend) == BatchCounts(in_queue=1, failed=1)
    assert await backend.batches.claim_completed(LEASE, 10) == []


async def test_the_last_end_completes_the_batch_which_is_claimed_once(
    backend: StoreBackend,
) -> None:
    a, b = jobs_of(backend, "a", "b")
    await admit_batch(backend, a, b)
    await end_job(backend, a)
    assert await backend.batches.claim_completed(LEASE, 10) == []
    backend.clock.move(SECOND)
    await end_job(backend, b)
    view = await backend.batches.load("bat_1")
    assert view is not None
    assert (view.status, view.finished_at) == (BatchStatus.COMPLETED, backend.clock.now())
    assert view.counts == BatchCounts(cancelled=2)
    (batch,) = await backend.batches.claim_completed(LEASE, 10)
    assert await backend.batches.claim_completed(LEASE, 10) == []  # it is under a lease
    backend.clock.move(LEASE)
    assert list(await backend.batches.claim_completed(LEASE, 10)) == [batch]  # its worker died
    assert await backend.batches.complete(batch, (enqueue_jobless_delivery(backend, "msg_1"),))
    assert not await backend.batches.complete(batch, (enqueue_jobless_delivery(backend, "msg_2"),))
    assert set(await backend.probe.outbox()) == {"msg_1"}
    backend.clock.move(LEASE)
    assert await backend.batches.claim_completed(LEASE, 10) == []


async def test_a_record_that_changes_after_the_end_completes_no_batch_again(
    backend: StoreBackend,
) -> None:
    (a,) = jobs_of(backend, "a")
    await admit_batch(backend, a)
    await end_job(backend, a)
    (batch,) = await backend.batches.claim_completed(LEASE, 10)
    assert await backend.batches.complete(batch, ())
    record = await backend.jobs.load(a.id)
    assert record is not None
    late = record.job.evolve(backend.clock.now(), late=True)
    assert await backend.jobs.store(Change(record.job, late)) is WriteResult.STORED
    assert await batch_counts(backend) == BatchCounts(cancelled=1)
    assert await backend.batches.claim_completed(LEASE, 10) == []


async def test_a_promoted_follower_is_counted_on(backend: StoreBackend) -> None:
    jobs = [replace(job, fingerprint="1:same") for job in jobs_of(backend, "a", "b")]
    await backend.batches.admit(
        batch_of(backend, *(replace(admission_of(job), cache=SHARING) for job in jobs))
    )
    await end_job(backend, jobs[0])
    follower = await backend.jobs.load("req_b")
    assert follower is not None
    promoted = follower.job.transition(
        Trigger.PROMOTED, backend.clock.now(), leader=None, next_run_at=None
    )
    entry = timeline_entry(backend.clock.now(), Trigger.PROMOTED)
    outcome = await backend.jobs.store(
        Change(follower.job, promoted, entry=entry, expected_leader="req_a")
    )
    assert outcome is WriteResult.STORED
    assert await batch_counts(backend) == BatchCounts(in_queue=1, cancelled=1)
    await end_job(backend, jobs[1])
    assert len(await backend.batches.claim_completed(LEASE, 10)) == 1


async def test_batches_are_listed_newest_first(backend: StoreBackend) -> None:
    for number in range(3):
        jobs = jobs_of(backend, str(number), batch=f"bat_{number}")
        await admit_batch(backend, *jobs, id=f"bat_{number}")
        backend.clock.move(SECOND)
    first = await backend.batches.list_page(tenant_credential(), None, 2)
    assert [view.batch.id for view in first.items] == ["bat_2", "bat_1"]
    second = await backend.batches.list_page(tenant_credential(), first.cursor, 2)
    assert ([view.batch.id for view in second.items], second.cursor) == (["bat_0"], None)
    others = await backend.batches.list_page(tenant_credential("bob"), None, 2)
    assert others.items == ()


async def test_waiting_jobs_keep_the_order_of_their_items(backend: StoreBackend) -> None:
    await set_limits(backend, Limits(running=1))
    jobs = jobs_of(backend, "a", "b", "c", "d")
    jobs[3] = replace(jobs[3], priority=0)
    done = await admit_batch(backend, *jobs)
    running = [v.has_slot for v in done.results]  # type: ignore[union-attr]  # all were admitted
    assert running == [True, False, False, False]
    for expected in ("req_a", "req_d", "req_b", "req_c"):
        bell = await backend.probe.wake_queue()
        assert f"{expected}:0" in bell
        await end_job(backend, next(job for job in jobs if job.id == expected))
    assert await backend.probe.states() == {str(JobState.CANCELLED): 4}
