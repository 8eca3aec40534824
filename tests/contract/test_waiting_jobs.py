"""Jobs that wait for something other than their turn: they hold no slot and no place."""

from dataclasses import replace
from datetime import timedelta

import pytest

from core.clock import to_ms
from core.errors import LimitReached
from core.jobs.job import Job, JobState, WaitingFor
from core.money import MicroUsd
from core.tenants.limits import GlobalLimits, Limits, Priority
from core.transactions.job_update import WriteResult
from tests.support.store_harness import StoreHarness

BALANCE = WaitingFor.BALANCE
HOUR = timedelta(hours=1)


async def _wait(harness: StoreHarness, job: Job, waiting_for: WaitingFor | None) -> WriteResult:
    due = harness.clock.now() + HOUR
    return await harness.update(job.id, JobState.QUEUED, waiting_for=waiting_for, next_run_at=due)


async def _claimed(harness: StoreHarness) -> set[str]:
    return {job.id for job in await harness.jobs.claim_due(timedelta(seconds=15), 100)}


async def test_a_job_that_waits_gives_its_slot_to_the_next(harness: StoreHarness) -> None:
    await harness.admin.set_limits(GlobalLimits(running=1))
    await harness.tenant("ape")
    first, second = [await harness.submit("ape") for _ in range(2)]
    assert await harness.start(second.id) is WriteResult.NO_SLOT
    assert await _wait(harness, first, BALANCE) is WriteResult.STORED
    assert await harness.start(first.id) is WriteResult.NO_SLOT
    assert await harness.start(second.id) is WriteResult.STORED
    await harness.succeed(second.id, 0)


async def test_a_refused_submit_gives_its_slot_back_too(harness: StoreHarness) -> None:
    await harness.admin.set_limits(GlobalLimits(running=1))
    await harness.tenant("ape")
    first, second = [await harness.submit("ape") for _ in range(2)]
    await harness.start(first.id)
    assert await _wait(harness, first, BALANCE) is WriteResult.STORED
    assert await harness.start(second.id) is WriteResult.STORED


async def test_who_waits_no_longer_queues_by_its_priority(harness: StoreHarness) -> None:
    await harness.admin.set_limits(GlobalLimits(running=1))
    await harness.tenant("ape")
    urgent = await harness.submit("ape", priority=Priority.HIGH)
    await _wait(harness, urgent, BALANCE)
    running, waiting = [await harness.submit("ape") for _ in range(2)]
    assert await _wait(harness, urgent, None) is WriteResult.STORED
    assert await harness.start(urgent.id) is WriteResult.NO_SLOT
    await harness.start(running.id)
    await harness.succeed(running.id, 0)
    assert await harness.start(waiting.id) is WriteResult.NO_SLOT
    assert await harness.start(urgent.id) is WriteResult.STORED


async def test_who_waits_no_longer_may_start_at_once(harness: StoreHarness) -> None:
    await harness.tenant("ape")
    job = await harness.submit("ape")
    await _wait(harness, job, WaitingFor.ACCOUNT)
    await _wait(harness, job, BALANCE)
    assert await harness.start(job.id) is WriteResult.NO_SLOT
    await _wait(harness, job, None)
    assert await harness.start(job.id) is WriteResult.STORED


async def test_all_that_wait_for_one_thing_are_woken_at_once(harness: StoreHarness) -> None:
    await harness.tenant("ape")
    jobs = [await harness.submit("ape") for _ in range(200)]
    for job in jobs:
        await _wait(harness, job, BALANCE)
    other = await harness.submit("ape")
    await _wait(harness, other, WaitingFor.MODEL)
    assert await _claimed(harness) == set()
    assert await harness.jobs.wake_waiting(BALANCE) == 200
    woken = await _claimed(harness) | await _claimed(harness)
    assert woken == {job.id for job in jobs}
    assert await harness.jobs.wake_waiting(WaitingFor.ACCOUNT) == 0


async def test_the_cheapest_is_known(harness: StoreHarness) -> None:
    await harness.tenant("ape")
    assert await harness.jobs.find_cheapest_waiting(BALANCE) is None
    prices = [MicroUsd(900), MicroUsd(0), MicroUsd(20), None]
    jobs = [await harness.submit("ape", estimate=price) for price in prices]
    for job in (jobs[3], jobs[0], jobs[1], jobs[2]):
        await _wait(harness, job, BALANCE)
    for expected in (jobs[1], jobs[2], jobs[0], jobs[3]):
        assert await harness.jobs.find_cheapest_waiting(BALANCE) == expected.id
        await harness.update(expected.id, JobState.CANCELLED, waiting_for=None, next_run_at=None)
    assert await harness.jobs.find_cheapest_waiting(BALANCE) is None


async def test_jobs_that_wait_count_in_the_tenants_queue(harness: StoreHarness) -> None:
    await harness.tenant("ape", Limits(waiting=2))
    await harness.admin.set_limits(GlobalLimits(running=1))
    jobs = [await harness.submit("ape") for _ in range(2)]
    await _wait(harness, jobs[0], BALANCE)
    third = await harness.submit("ape")
    assert (await harness.usage_of("ape")).waiting == 2
    with pytest.raises(LimitReached, match="queue is full"):
        await harness.submit("ape")
    await harness.cancel(third.id)
    assert (await harness.usage_of("ape")).waiting == 1


async def test_a_late_acceptance_of_a_waiting_job_takes_a_slot(harness: StoreHarness) -> None:
    await harness.tenant("ape")
    job = await harness.submit("ape")
    await _wait(harness, job, BALANCE)
    await harness.update(job.id, JobState.RUNNING, waiting_for=None, upstream_id="up-1")
    assert (await harness.usage_of("ape")).running == 1
    assert await harness.succeed(job.id, 5) is WriteResult.STORED
    assert (await harness.usage_of("ape")).running == 0


async def test_a_waiting_job_is_due_when_it_said(harness: StoreHarness) -> None:
    await harness.tenant("ape")
    job = await harness.submit("ape")
    await _wait(harness, job, BALANCE)
    record = await harness.jobs.load(job.id)
    assert record is not None
    assert record.job.next_run_at is not None
    assert to_ms(record.job.next_run_at) == to_ms(harness.clock.now() + HOUR)
    sooner = replace(record.job)
    assert await harness.jobs.reschedule(sooner, harness.clock.now())
    assert await _claimed(harness) == {job.id}
