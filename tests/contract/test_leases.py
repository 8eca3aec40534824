"""Due jobs are claimed once, under a lease, and are due again when it ends."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

from core.clock import to_ms
from core.jobs.job import Job, Trigger
from core.transactions.job_update import Change, WriteResult
from tests.support.backends import StoreBackend
from tests.support.store_steps import (
    SECOND,
    admit_job,
    apply_triggers,
    cancellation_change,
    delivery_for,
)

LEASE = 15 * SECOND


async def claim_ids(backend: StoreBackend, limit: int = 100) -> list[str]:
    """Claim the due jobs and return their ids."""
    return [job.id for job in await backend.jobs.claim_due(LEASE, limit)]


async def test_nothing_is_due_before_its_time(backend: StoreBackend) -> None:
    await admit_job(backend)
    backend.clock.move(5 * SECOND - timedelta(milliseconds=1))
    assert await claim_ids(backend) == []
    backend.clock.move(timedelta(milliseconds=1))
    assert await claim_ids(backend) == ["req_1"]


async def test_a_claim_returns_the_current_record(backend: StoreBackend) -> None:
    job = await apply_triggers(backend, await admit_job(backend), Trigger.CLAIMED)
    backend.clock.move(SECOND)
    assert list(await backend.jobs.claim_due(LEASE, 1)) == [job]


async def test_the_oldest_comes_first_and_no_more_than_requested(backend: StoreBackend) -> None:
    for name in ("req_c", "req_a", "req_b"):
        await admit_job(backend, name)
        backend.clock.move(SECOND)
    backend.clock.move(10 * SECOND)
    assert await claim_ids(backend, 2) == ["req_c", "req_a"]
    assert await claim_ids(backend, 2) == ["req_b"]


async def test_of_equal_age_the_names_decide(backend: StoreBackend) -> None:
    for name in ("req_b", "req_c", "req_a"):
        await admit_job(backend, name)
    backend.clock.move(5 * SECOND)
    assert await claim_ids(backend) == ["req_a", "req_b", "req_c"]


async def test_a_leased_job_is_not_claimed_until_the_lease_ends(backend: StoreBackend) -> None:
    await admit_job(backend)
    backend.clock.move(5 * SECOND)
    assert await claim_ids(backend) == ["req_1"]
    backend.clock.move(LEASE - timedelta(milliseconds=1))
    assert await claim_ids(backend) == []
    backend.clock.move(timedelta(milliseconds=1))
    assert await claim_ids(backend) == ["req_1"]


async def test_concurrent_claims_return_each_job_once(backend: StoreBackend) -> None:
    for number in range(30):
        await admit_job(backend, f"req_{number}")
    backend.clock.move(5 * SECOND)
    hauls: list[Sequence[Job]] = await asyncio.gather(
        *(backend.jobs.claim_due(LEASE, 4) for _ in range(10))
    )
    names = [job.id for haul in hauls for job in haul]
    assert len(names) == len(set(names)) == 30


async def test_a_vanished_record_is_swept_out_of_the_index(backend: StoreBackend) -> None:
    await admit_job(backend, "req_gone")
    await admit_job(backend, "req_here")
    await backend.probe.forget_job("req_gone")
    backend.clock.move(5 * SECOND)
    assert await claim_ids(backend) == ["req_here"]
    assert set(await backend.probe.due()) == {"req_here"}


async def test_a_job_is_rescheduled_and_its_polls_are_counted(backend: StoreBackend) -> None:
    job = await admit_job(backend)
    later = backend.clock.now() + timedelta(minutes=1)
    assert await backend.jobs.reschedule(job, later)
    assert await backend.jobs.reschedule(job, later, polled=True)
    record = await backend.jobs.load(job.id)
    assert record is not None
    assert (record.job, record.polls) == (job, 1)
    assert await backend.probe.due() == {job.id: to_ms(later)}


async def test_only_the_current_version_is_rescheduled(backend: StoreBackend) -> None:
    old = await admit_job(backend)
    await apply_triggers(backend, old, Trigger.CLAIMED)
    due = await backend.probe.due()
    assert not await backend.jobs.reschedule(old, backend.clock.now() + LEASE, polled=True)
    assert await backend.probe.due() == due
    record = await backend.jobs.load(old.id)
    assert record is not None
    assert record.polls == 0


async def test_an_ended_or_vanished_job_is_not_put_back_into_the_index(
    backend: StoreBackend,
) -> None:
    ended = await apply_triggers(backend, await admit_job(backend), Trigger.CANCEL_REQUESTED)
    assert await backend.jobs.reschedule(ended, backend.clock.now())
    gone = await admit_job(backend, "req_gone")
    await backend.probe.forget_job(gone.id)
    assert not await backend.jobs.reschedule(gone, backend.clock.now())
    assert ended.id not in await backend.probe.due()


async def test_a_note_leaves_the_lease_on_the_job(backend: StoreBackend) -> None:
    """A caller cancels while a slow submit renews its lease."""
    job = await apply_triggers(backend, await admit_job(backend), Trigger.CLAIMED)
    until = backend.clock.now() + LEASE
    assert await backend.jobs.reschedule(job, until)
    noted = job.evolve(backend.clock.now(), cancel_requested_at=backend.clock.now())
    assert await backend.jobs.store(Change(job, noted)) is WriteResult.STORED
    assert await backend.probe.due() == {job.id: to_ms(until)}


async def test_deliveries_are_claimed_under_leases_too(backend: StoreBackend) -> None:
    job = await admit_job(backend)
    first, second = delivery_for(job, "msg_1"), delivery_for(job, "msg_2")
    await backend.jobs.store(cancellation_change(job, backend.clock.now(), first, second))
    store = backend.deliveries
    assert [each.delivery for each in await store.claim_due(LEASE, 1)] == [first]
    assert [each.delivery for each in await store.claim_due(LEASE, 9)] == [second]
    assert list(await store.claim_due(LEASE, 9)) == []
    backend.clock.move(LEASE)
    assert [each.delivery for each in await store.claim_due(LEASE, 9)] == [first, second]
