"""Jobs with `not_before`: held with their money and without a slot; who may join them."""

from datetime import datetime, timedelta

import pytest

from core.errors import BudgetReached, LimitReached
from core.jobs.job import Job, JobState, WaitingFor
from core.money import MicroUsd
from core.tenants.cache_policy import CacheStatus
from core.tenants.limits import GlobalLimits, Limits
from core.transactions.job_update import WriteResult
from tests.support.coalescing import CoalescingHarness
from tests.support.store_harness import PRICE, StoreHarness

HOUR = timedelta(hours=1)


async def _claimed(harness: StoreHarness) -> list[Job]:
    return list(await harness.jobs.claim_due(timedelta(seconds=15), 100))


async def _held(harness: StoreHarness, until: datetime) -> Job:
    return await harness.submit("ape", not_before=until)


async def _release(harness: StoreHarness, job: Job) -> WriteResult:
    return await harness.update(job.id, JobState.QUEUED, waiting_for=None, next_run_at=None)


async def test_a_held_job_is_due_at_its_time_and_has_no_slot_before(harness: StoreHarness) -> None:
    await harness.tenant("ape")
    until = harness.clock.now() + HOUR
    job = await _held(harness, until)
    record = await harness.jobs.load(job.id)
    assert record is not None
    assert (record.job.waiting_for, record.job.next_run_at) == (WaitingFor.NOT_BEFORE, until)
    assert await harness.start(job.id) is WriteResult.NO_SLOT
    harness.clock.shift(HOUR - timedelta(seconds=1))
    assert await _claimed(harness) == []
    harness.clock.shift(timedelta(seconds=1))
    assert [one.id for one in await _claimed(harness)] == [job.id]
    assert await _release(harness, job) is WriteResult.STORED
    assert await harness.start(job.id) is WriteResult.STORED
    assert await harness.succeed(job.id, 5) is WriteResult.STORED


async def test_a_held_job_takes_no_turn_from_others(harness: StoreHarness) -> None:
    await harness.tenant("ape")
    await harness.admin.set_limits(GlobalLimits(running=1))
    held = await _held(harness, harness.clock.now() + HOUR)
    other = await harness.submit("ape")
    assert await harness.start(other.id) is WriteResult.STORED
    assert await _release(harness, held) is WriteResult.STORED
    assert await harness.start(held.id) is WriteResult.NO_SLOT


async def test_a_time_that_has_passed_holds_nothing(harness: StoreHarness) -> None:
    await harness.tenant("ape")
    job = await _held(harness, harness.clock.now())
    assert await harness.start(job.id) is WriteResult.STORED


async def test_its_money_is_reserved_and_a_cancel_gives_it_back(harness: StoreHarness) -> None:
    await harness.tenant("ape", Limits(usd_per_day=MicroUsd(PRICE)))
    job = await _held(harness, harness.clock.now() + HOUR)
    with pytest.raises(BudgetReached):
        await harness.submit("ape")
    await harness.update(job.id, JobState.CANCELLED, waiting_for=None, next_run_at=None)
    assert (await harness.usage_of("ape")).waiting == 0
    await harness.submit("ape")


async def test_held_jobs_count_in_the_queue_of_their_tenant(harness: StoreHarness) -> None:
    await harness.tenant("ape", Limits(waiting=1))
    until = harness.clock.now() + HOUR
    await _held(harness, until)
    assert (await harness.usage_of("ape")).waiting == 1
    with pytest.raises(LimitReached):
        await _held(harness, until)


@pytest.mark.parametrize(
    ("leader", "follower", "status"),
    [
        (1, None, CacheStatus.MISS),
        (2, 1, CacheStatus.MISS),
        (1, 1, CacheStatus.COLLAPSED),
        (1, 2, CacheStatus.COLLAPSED),
        (None, 1, CacheStatus.COLLAPSED),
    ],
)
async def test_no_job_waits_for_one_that_is_held_longer(
    coalescing: CoalescingHarness, leader: int | None, follower: int | None, status: CacheStatus
) -> None:
    now = coalescing.stores.clock.now()
    times = [None if hours is None else now + hours * HOUR for hours in (leader, follower)]
    await coalescing.submit(not_before=times[0])
    _, admitted = await coalescing.submit(not_before=times[1])
    assert admitted.cache_status is status


async def test_an_earlier_job_is_joined_in_place_of_the_held_one(
    coalescing: CoalescingHarness,
) -> None:
    until = coalescing.stores.clock.now() + HOUR
    held = await coalescing.submit_job(not_before=until)
    early = await coalescing.submit_job()
    follower, admitted = await coalescing.submit()
    assert (admitted.cache_status, follower.leader) == (CacheStatus.COLLAPSED, early.id)
    await coalescing.finish(early)
    _, hit = await coalescing.submit(not_before=until)
    assert hit.cache_status is CacheStatus.HIT
    assert await coalescing.state(held) is JobState.QUEUED


async def test_a_held_leader_is_joined_once_its_time_has_come(
    coalescing: CoalescingHarness,
) -> None:
    held = await coalescing.submit_job(not_before=coalescing.stores.clock.now() + HOUR)
    coalescing.stores.clock.shift(HOUR)
    follower, admitted = await coalescing.submit()
    assert (admitted.cache_status, follower.leader) == (CacheStatus.COLLAPSED, held.id)
