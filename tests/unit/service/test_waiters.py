"""Places of those who wait: who is woken, by what, and that nothing is left behind."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from service.streaming.subscriptions import Waiter, Waiters, Wake
from tests.fakes.clock import FakeClock, settle

SPAN = timedelta(seconds=15)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def waiters(clock: FakeClock) -> Waiters:
    return Waiters(clock, most=3)


def joined(waiters: Waiters, job_id: str = "req_1", *, ends_only: bool = False) -> Waiter:
    waiter = waiters.join(job_id, ends_only=ends_only)
    assert waiter is not None
    return waiter


async def waiting(waiter: Waiter) -> asyncio.Task[Wake]:
    task = asyncio.create_task(waiter.wait(SPAN))
    await settle()
    return task


async def test_a_change_wakes_everybody_who_waits_for_the_job(waiters: Waiters) -> None:
    tasks = [await waiting(joined(waiters)) for _ in range(2)]
    other = await waiting(joined(waiters, "req_2"))

    waiters.changed("req_1", 2, ended=False)
    await settle()

    assert [task.result() for task in tasks] == [Wake.CHANGED] * 2
    assert not other.done()
    waiters.close()
    await other


async def test_silence_ends_a_wait_after_its_span(clock: FakeClock, waiters: Waiters) -> None:
    waiter = joined(waiters)
    task = await waiting(waiter)

    await clock.advance(SPAN - timedelta(milliseconds=1))
    assert not task.done()
    await clock.advance(timedelta(milliseconds=1))

    assert task.result() is Wake.QUIET
    assert waiter.waited == SPAN


async def test_many_changes_between_two_waits_are_one_wake(waiters: Waiters) -> None:
    waiter = joined(waiters)
    for version in range(2, 50):
        waiters.changed("req_1", version, ended=False)

    assert await waiter.wait(SPAN) is Wake.CHANGED
    assert not (again := await waiting(waiter)).done()
    waiters.close()
    assert await again is Wake.CLOSED


async def test_what_was_read_already_is_no_news(waiters: Waiters) -> None:
    waiter = joined(waiters)
    waiter.seen = 5
    task = await waiting(waiter)

    waiters.changed("req_1", 5, ended=True)
    await settle()
    assert not task.done()
    waiters.changed("req_1", 6, ended=False)

    assert await task is Wake.CHANGED


async def test_who_waits_for_the_end_sleeps_through_everything_else(waiters: Waiters) -> None:
    task = await waiting(joined(waiters, ends_only=True))

    waiters.changed("req_1", 2, ended=False)
    await settle()
    assert not task.done()
    waiters.changed("req_1", 3, ended=True)

    assert await task is Wake.CHANGED


async def test_after_an_outage_everybody_looks_once(waiters: Waiters) -> None:
    places = [joined(waiters), joined(waiters, "req_2", ends_only=True)]
    tasks = [await waiting(place) for place in places]

    waiters.missed()

    assert [await task for task in tasks] == [Wake.CHANGED] * 2
    again = [await waiting(place) for place in places]
    assert not any(task.done() for task in again)
    waiters.close()
    await asyncio.gather(*again)


async def test_a_closed_process_ends_every_wait_and_takes_nobody_in(waiters: Waiters) -> None:
    waiter = joined(waiters)
    task = await waiting(waiter)

    waiters.close()

    assert await task is Wake.CLOSED
    assert await waiter.wait(SPAN) is Wake.CLOSED
    assert waiters.join("req_1") is None


async def test_the_first_reason_to_stop_stands(waiters: Waiters) -> None:
    waiter = joined(waiters)
    waiter.stop(Wake.LEFT)
    waiters.close()

    assert await waiter.wait(SPAN) is Wake.LEFT


async def test_places_are_counted_and_come_back(waiters: Waiters) -> None:
    places = [joined(waiters) for _ in range(3)]
    assert waiters.join("req_1") is None

    with places[0]:
        pass
    waiters.leave(places[0])  # twice is once

    assert len(waiters) == 2
    for place in places:
        waiters.leave(place)
    assert len(waiters) == 0
    assert not waiters.by_job


async def test_a_cancelled_wait_leaves_no_sleeper(clock: FakeClock, waiters: Waiters) -> None:
    task = await waiting(joined(waiters))
    task.cancel()
    await settle()

    assert clock.sleepers == 0
