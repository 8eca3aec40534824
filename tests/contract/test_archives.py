"""Jobs whose outputs are to be kept: claims, leases, slots, and how long the records stay."""

from dataclasses import replace
from datetime import timedelta

from core.archive import ArchivedOutput, ArchiveMode
from core.jobs.job import Job, JobState, Trigger
from core.retention import RETENTION
from core.store.job_index import DeletionResult
from core.transactions.job_update import Change, WriteResult
from tests.support.backends import StoreBackend
from tests.support.store_steps import SECOND, admit_job, apply_triggers, new_job

LEASE = timedelta(seconds=30)
KEPT = (ArchivedOutput("video", "https://a/1", file_id="file_1"),)


async def archiving_job(
    backend: StoreBackend, job_id: str = "req_1", state: JobState = JobState.SUCCEEDED
) -> Job:
    """A job that has ended, or waits for it, whose outputs are to be kept now."""
    job = await admit_job(backend, job_id)
    job = await apply_triggers(backend, job, Trigger.CLAIMED, Trigger.ACCEPTED, Trigger.FINISHED)
    now = backend.clock.now()
    begun = {"archive": ArchiveMode.AFTER, "archive_due_at": now}
    if state is JobState.ARCHIVING:
        after = job.transition(Trigger.OUTPUT_STORED, now, next_run_at=now + LEASE, **begun)
    else:
        after = job.transition(Trigger.COLLECTED, now, next_run_at=None, finished_at=now, **begun)
    change = Change(job, after, output=b'{"video":"https://a/1"}')
    assert await backend.jobs.store(change) is WriteResult.STORED
    return after


async def store(backend: StoreBackend, job: Job, **changes: object) -> Job:
    after = job.evolve(backend.clock.now(), **changes)
    assert await backend.jobs.store(Change(job, after)) is WriteResult.STORED
    return after


async def claimed(backend: StoreBackend) -> list[str]:
    return [job.id for job in await backend.jobs.claim_archives(LEASE, 10)]


async def ttl_of(backend: StoreBackend, job: Job) -> timedelta:
    """The record's TTL in whole hours; Redis's own clock goes on meanwhile."""
    left = await backend.probe.ttl_of_job(job.id)
    assert left is not None
    hour = timedelta(hours=1)
    return -(-left // hour) * hour


async def test_a_job_is_claimed_under_a_lease_that_can_be_renewed(backend: StoreBackend) -> None:
    job = await archiving_job(backend)
    assert await claimed(backend) == [job.id]
    assert await claimed(backend) == []
    await backend.jobs.postpone_archive(job.id, backend.clock.now() + 2 * LEASE)
    backend.clock.move(LEASE)
    assert await claimed(backend) == []
    backend.clock.move(LEASE)
    assert await claimed(backend) == [job.id]


async def test_the_next_attempt_is_when_the_record_says(backend: StoreBackend) -> None:
    job = await archiving_job(backend)
    await claimed(backend)
    job = await store(backend, job, archive_due_at=backend.clock.now() + 5 * SECOND)
    # A change of something else leaves it as it is.
    job = await store(backend, job, reference="another")
    backend.clock.move(4 * SECOND)
    assert await claimed(backend) == []
    backend.clock.move(SECOND)
    assert await claimed(backend) == [job.id]
    await store(backend, job, archive_due_at=None)
    backend.clock.move(LEASE)
    assert await claimed(backend) == []
    # What is done is not brought back by the renewal of a lease.
    await backend.jobs.postpone_archive(job.id, backend.clock.now())
    assert await claimed(backend) == []


async def test_a_job_that_waits_for_its_outputs_has_no_slot(backend: StoreBackend) -> None:
    first = await archiving_job(backend, state=JobState.ARCHIVING)
    assert (await backend.probe.states())["archiving"] == 1
    record = await backend.jobs.load(first.id)
    assert record is not None
    assert record.output is not None
    now = backend.clock.now()
    done = first.transition(
        Trigger.ARCHIVED, now, next_run_at=None, finished_at=now, archive_due_at=None
    )
    assert await backend.jobs.store(Change(first, done, output=record.output)) is WriteResult.STORED
    second = await admit_job(backend, "req_2")
    await apply_triggers(backend, second, Trigger.CLAIMED)


async def test_a_request_is_kept_as_long_as_its_outputs(backend: StoreBackend) -> None:
    await _keep_results_for(backend, timedelta(hours=1))
    job = await archiving_job(backend)
    assert await ttl_of(backend, job) == RETENTION
    until = backend.clock.now() + timedelta(days=30)
    job = await store(backend, job, archive_due_at=None, outputs=KEPT, kept_until=until)
    assert await ttl_of(backend, job) == timedelta(days=30)
    # Neither a later change nor the end of the last delivery shortens that.
    await store(backend, job, reference="another")
    assert await ttl_of(backend, job) == timedelta(days=30)


async def test_a_tenant_s_short_time_begins_when_nothing_is_left_to_keep(
    backend: StoreBackend,
) -> None:
    await _keep_results_for(backend, timedelta(hours=1))
    job = await archiving_job(backend)
    assert await ttl_of(backend, job) == RETENTION
    await store(backend, job, archive_due_at=None)
    assert await ttl_of(backend, job) == timedelta(hours=1)


async def test_a_request_can_be_deleted_before_its_outputs_are_kept(
    backend: StoreBackend,
) -> None:
    job = await archiving_job(backend)
    assert await backend.job_index.delete(job) is DeletionResult.DELETED
    assert await claimed(backend) == []


async def test_a_job_whose_record_is_gone_leaves_the_index(backend: StoreBackend) -> None:
    job = await archiving_job(backend)
    await backend.probe.forget_job(job.id)
    assert await claimed(backend) == []
    assert new_job(backend.clock.now()).archive_due_at is None


async def _keep_results_for(backend: StoreBackend, span: timedelta) -> None:
    before = await backend.tenants.load("ada")
    assert before is not None
    after = replace(before, version=before.version + 1, result_ttl=span)
    assert await backend.tenants.change(before, after)
