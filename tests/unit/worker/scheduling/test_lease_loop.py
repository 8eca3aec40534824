"""The loop starts no item twice, respects its capacity, and survives a failing item."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

import pytest

from core.errors import StoreTimeout, StoreUnavailable
from core.observability.events import Event, OperationalWarning, RedisDisconnected, RedisReconnected
from tests.support.clock import FakeClock, run_ready_tasks
from tests.support.records import HOUR, MINUTE, SECOND
from worker.scheduling.lease_loop import LeaseLoop, LoopPolicy, WorkSource


class LeaseLoopHarness:
    """A loop over named items, all in progress until released. It polls only when woken."""

    def __init__(self, at_once: int = 3, batch: int | None = None) -> None:
        self.clock = FakeClock()
        self.events: list[Event] = []
        self.due: list[str] = []
        self.rooms: list[int] = []
        self.error: Exception | None = None
        self.failures: dict[str, BaseException] = {}
        self.begun: Counter[str] = Counter()
        self.finished: Counter[str] = Counter()
        self.blocked = asyncio.Event()
        work = WorkSource("yard", self.claim, self.handle, lambda item: item)
        policy = LoopPolicy(
            at_once, poll_interval=HOUR, store_retry_delay=SECOND, min_available=batch
        )
        self.loop = LeaseLoop(work, policy, self.clock, self.events.append)

    async def claim(self, room: int) -> Sequence[str]:
        self.rooms.append(room)
        if self.error is not None:
            raise self.error
        claimed, self.due = self.due[:room], self.due[room:]
        return claimed

    async def handle(self, item: str) -> None:
        self.begun[item] += 1
        if item in self.failures:
            raise self.failures[item]
        await self.blocked.wait()
        self.finished[item] += 1

    async def nudge(self, *due: str) -> None:
        self.due += due
        self.loop.wake()
        await run_ready_tasks()


@pytest.fixture
async def harness() -> AsyncIterator[LeaseLoopHarness]:
    async with running_loop(LeaseLoopHarness()) as yard:
        yield yard


@asynccontextmanager
async def running_loop(harness: LeaseLoopHarness) -> AsyncIterator[LeaseLoopHarness]:
    """The harness while its loop runs."""
    running = asyncio.create_task(harness.loop.run())
    await run_ready_tasks()
    yield harness
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    await harness.loop.drain(timedelta())


async def test_what_is_due_is_worked_on_together(harness: LeaseLoopHarness) -> None:
    await harness.nudge("a", "b")
    assert (harness.begun, harness.loop.in_flight) == ({"a": 1, "b": 1}, 2)
    harness.blocked.set()
    await run_ready_tasks()
    assert (harness.finished, harness.loop.in_flight) == ({"a": 1, "b": 1}, 0)


async def test_it_looks_on_after_a_nudge_only(harness: LeaseLoopHarness) -> None:
    looks = len(harness.rooms)
    harness.due.append("a")
    await run_ready_tasks()
    assert (len(harness.rooms), harness.begun) == (looks, {})
    await harness.nudge()
    assert harness.begun == {"a": 1}


async def test_it_looks_by_itself_when_its_tick_is_over() -> None:
    yard, begun = LeaseLoopHarness(), asyncio.Event()

    async def third_time(room: int) -> Sequence[str]:
        yard.rooms.append(room)
        return ["a"] if len(yard.rooms) == 3 else []

    async def handle(_: str) -> None:
        begun.set()

    policy = LoopPolicy(3, poll_interval=timedelta(microseconds=1))
    work = WorkSource("yard", third_time, handle, str)
    running = asyncio.create_task(LeaseLoop(work, policy, yard.clock, yard.events.append).run())
    await begun.wait()
    running.cancel()
    assert len(yard.rooms) >= 3


async def test_an_item_is_never_worked_on_twice_at_once(harness: LeaseLoopHarness) -> None:
    await harness.nudge("a")
    await harness.nudge("a")
    first, second = harness.loop.start("a"), harness.loop.start("a")
    assert first is second
    assert (harness.begun, harness.loop.in_flight) == ({"a": 1}, 1)
    harness.blocked.set()
    await first
    await run_ready_tasks()
    await harness.nudge("a")
    assert harness.begun == {"a": 2}


async def test_no_more_is_claimed_than_there_is_room_for(harness: LeaseLoopHarness) -> None:
    await harness.nudge("a", "b", "c", "d")
    assert (harness.loop.in_flight, harness.due) == (3, ["d"])
    looks = len(harness.rooms)
    await harness.nudge()
    assert len(harness.rooms) == looks
    assert min(harness.rooms) >= 1


async def test_room_that_becomes_free_is_used_at_once(harness: LeaseLoopHarness) -> None:
    harness.failures["a"] = StoreUnavailable()
    await harness.nudge("b", "c", "a", "d")
    assert (harness.begun, harness.due) == ({"a": 1, "b": 1, "c": 1, "d": 1}, [])


async def test_a_lost_store_is_told_once_and_waited_for(harness: LeaseLoopHarness) -> None:
    harness.error = StoreUnavailable("connection refused")
    for _ in range(10):
        await harness.nudge()
        await harness.clock.advance(SECOND)
    assert harness.events == [RedisDisconnected(detail="yard: connection refused")]
    harness.error = None
    await harness.nudge("a")
    assert harness.events[1:] == [RedisReconnected(downtime=10 * SECOND)]
    assert harness.begun == {"a": 1}


async def test_a_lost_store_is_not_asked_again_before_the_pause_is_over(
    harness: LeaseLoopHarness,
) -> None:
    harness.error = StoreUnavailable()
    await harness.nudge()
    looks = len(harness.rooms)
    await harness.nudge()
    await harness.clock.advance(0.9 * SECOND)
    assert len(harness.rooms) == looks
    await harness.clock.advance(0.1 * SECOND)
    assert len(harness.rooms) == looks + 1


async def test_a_store_that_is_lost_again_is_told_again(harness: LeaseLoopHarness) -> None:
    for _ in range(2):
        harness.error = StoreTimeout()
        await harness.nudge()
        harness.error = None
        await harness.clock.advance(SECOND)
        await harness.nudge()
    assert [type(event) for event in harness.events] == [RedisDisconnected, RedisReconnected] * 2


async def test_an_item_that_fails_is_told_and_ends_nothing(harness: LeaseLoopHarness) -> None:
    error = RuntimeError("a defect")
    harness.failures["a"] = error
    await harness.nudge("a", "b")
    assert harness.events == [
        OperationalWarning(
            code="yard_failed", detail="RuntimeError: a defect", job_id="a", error=error
        )
    ]
    assert harness.begun == {"a": 1, "b": 1}
    await harness.nudge("c")
    assert harness.begun["c"] == 1


async def test_an_item_whose_store_is_away_is_left_to_its_lease(harness: LeaseLoopHarness) -> None:
    harness.failures["a"] = StoreTimeout()
    await harness.nudge("a")
    assert (harness.events, harness.loop.in_flight) == ([], 0)


async def test_a_drain_waits_for_what_is_under_way(harness: LeaseLoopHarness) -> None:
    await harness.nudge("a", "b")
    draining = asyncio.create_task(harness.loop.drain(HOUR))
    await run_ready_tasks()
    assert not draining.done()
    harness.blocked.set()
    assert await draining == 0
    assert harness.finished == {"a": 1, "b": 1}


async def test_a_drain_cuts_what_takes_too_long(harness: LeaseLoopHarness) -> None:
    await harness.nudge("a", "b")
    assert await harness.loop.drain(timedelta()) == 2
    assert (harness.finished, harness.loop.in_flight) == ({}, 0)


async def test_a_drain_with_nothing_under_way_is_over_at_once(harness: LeaseLoopHarness) -> None:
    assert await harness.loop.drain(HOUR) == 0


async def test_in_batches_an_end_is_no_reason_to_look_where_nothing_was_left() -> None:
    async with running_loop(LeaseLoopHarness(at_once=4, batch=2)) as yard:
        await yard.nudge("a", "b")
        looks = len(yard.rooms)
        yard.blocked.set()
        await run_ready_tasks()
        assert (yard.loop.in_flight, len(yard.rooms)) == (0, looks)


async def test_in_batches_what_was_left_is_taken_as_soon_as_there_is_room() -> None:
    async with running_loop(LeaseLoopHarness(at_once=4, batch=2)) as yard:
        await yard.nudge(*"abcdef")
        assert (yard.loop.in_flight, yard.due) == (4, ["e", "f"])
        yard.blocked.set()
        await run_ready_tasks()
        assert (yard.due, sum(yard.finished.values())) == ([], 6)


async def test_one_group_leaves_places_for_others_and_slow_items_move_apart() -> None:
    events: list[Event] = []
    begun, returned, blocked = Counter[str](), list[str](), asyncio.Event()
    due = [f"big{number}" for number in range(12)]

    async def claim(room: int) -> Sequence[str]:
        claimed = due[:room]
        del due[:room]
        return claimed

    async def handle(item: str) -> None:
        begun[item[:3]] += 1
        await blocked.wait()

    async def give_back(item: str) -> None:
        returned.append(item)

    work = WorkSource("yard", claim, handle, str, lambda item: (item[:3],), give_back)
    policy = LoopPolicy(8, poll_interval=HOUR, slow_after=SECOND / 100)
    loop = LeaseLoop(work, policy, FakeClock(), events.append)
    running = asyncio.create_task(loop.run())
    await run_ready_tasks()
    assert (begun["big"], returned) == (6, ["big6", "big7", "big8", "big9", "big10", "big11"])
    due.append("new")
    loop.wake()
    await run_ready_tasks()
    assert begun["new"] == 1
    while begun["big"] < 8:  # until the slow ones have moved
        due.extend(("big12", "big13"))
        loop.wake()
        await asyncio.sleep(0.01)
        await run_ready_tasks()
    running.cancel()
    blocked.set()
    assert await loop.drain(MINUTE) == 0
