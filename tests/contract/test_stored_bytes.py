"""What a tenant's inputs and outputs take in the store is counted, limited, and given back."""

from dataclasses import replace
from typing import Final

import pytest

from core.errors import LimitReached
from core.jobs.job import BillingStatus, Job, Trigger
from core.quotas import QuotaPolicy
from core.retention import DELIVERY_RETENTION
from core.store.job_index import DeletionResult
from core.tenants.cache_policy import CacheOption
from core.tenants.limits import Limits
from core.transactions.admission import CacheRequest
from core.transactions.job_update import Change, WriteResult
from tests.support.backends import StoreBackend
from tests.support.store_steps import admission_of, apply_triggers, cancellation_change, new_job

OFF: Final = CacheRequest(requested=CacheOption.OFF)
OUTPUT: Final = b"o" * 30
RUNNING: Final = (Trigger.CLAIMED, Trigger.ACCEPTED)


async def limit(backend: StoreBackend, stored_bytes: int) -> None:
    before = await backend.tenants.load("ada")
    assert before is not None
    after = replace(before, version=before.version + 1, limits=Limits(stored_bytes=stored_bytes))
    assert await backend.tenants.change(before, after)


async def submit(backend: StoreBackend, job_id: str, size: int, tenant: str = "ada") -> Job:
    job = new_job(backend.clock.now(), job_id, tenant)
    await backend.jobs.admit(replace(admission_of(job), input=b"x" * size, cache=OFF))
    return job


async def finish(backend: StoreBackend, job: Job) -> Job:
    """End the job with an output of 30 bytes."""
    running = await apply_triggers(backend, job, *RUNNING, Trigger.FINISHED)
    now = backend.clock.now()
    after = running.transition(
        Trigger.COLLECTED, now, next_run_at=None, finished_at=now, billed=BillingStatus.YES
    )
    change = Change(running, after, output=OUTPUT)
    assert await backend.jobs.store(change) is WriteResult.STORED
    return after


async def test_inputs_count_until_no_more_fits(backend: StoreBackend) -> None:
    await limit(backend, 100)
    await submit(backend, "req_1", 60)
    with pytest.raises(LimitReached) as refused:
        await submit(backend, "req_2", 41)
    assert (refused.value.policy, refused.value.retry_after) == (QuotaPolicy.STORED_BYTES, None)
    assert {q.policy: q.remaining for q in refused.value.quotas}[QuotaPolicy.STORED_BYTES] == 0
    await submit(backend, "req_3", 40)


async def test_a_cancel_that_nobody_paid_for_gives_its_input_back(backend: StoreBackend) -> None:
    await limit(backend, 100)
    for number in range(5):
        job = await submit(backend, f"req_{number}", 90)
        change = cancellation_change(job, backend.clock.now())
        assert await backend.jobs.store(change) is WriteResult.STORED
        assert await backend.jobs.load_input(job.id) is None


async def test_outputs_count_and_a_deleted_request_does_not(backend: StoreBackend) -> None:
    await limit(backend, 100)
    done = await finish(backend, await submit(backend, "req_1", 60))
    with pytest.raises(LimitReached):
        await submit(backend, "req_2", 11)
    assert await backend.job_index.delete(done) is DeletionResult.DELETED
    await submit(backend, "req_3", 100)


async def test_an_expired_request_does_not_count_once_the_indexes_are_pruned(
    backend: StoreBackend,
) -> None:
    await limit(backend, 100)
    done = await finish(backend, await submit(backend, "req_1", 60))
    await backend.probe.forget_job(done.id)
    await backend.job_index.prune("ada", 0, backend.clock.now() + DELIVERY_RETENTION)
    await submit(backend, "req_2", 100)


async def test_another_tenants_bytes_do_not_count(backend: StoreBackend) -> None:
    await limit(backend, 50)
    await submit(backend, "req_1", 1000, "bob")
    await submit(backend, "req_2", 50)
