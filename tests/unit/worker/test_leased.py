"""The loop: never twice at once, never more than there is room for, never ended by one item."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from core.errors import StoreSilent, StoreUnavailable
from core.observability.events import OperationalWarning, RedisDisconnected, RedisReconnected
from tests.builders import HOUR, SECOND
from tests.fakes.clock import FakeClock, settle
from worker.scheduling.lease_loop import LeasedLoop, LoopPolicy, Work

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from core.observability.events import Event


class Yard:
    """A loop over named items, each under way until all are let go. It looks only when nudged."""

    def __init__(self, at_once: int = 3, batch: int | None = None) -> None:
        self.clock = FakeClock()
        self.events: list[Event] = []
        self.due: list[str] = []
        self.rooms: list[int] = []
        self.error: Exception | None = None
        self.failures: dict[str, BaseException] = {}
        self.begun: Counter[str] = Counter()
        self.finished: Counter[str] = Counter()
        self.held = asyncio.Event()
        work = Work("yard", self.claim, self.handle, lambda item: item)
        policy = LoopPolicy(at_once, tick=HOUR, store_pause=SECOND, batch=batch)
        self.loop = LeasedLoop(work, policy, self.clock, self.events.append)

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
        await self.held.wait()
        self.finished[item] += 1

    async def nudge(self, *due: str) -> None:
        self.due += due
        self.loop.nudge()
        await settle()


@pytest.fixture
async def yard() -> AsyncIterator[Yard]:
    async with at_work(Yard()) as yard:
        yield yard


@asynccontextmanager
async def at_work(yard: Yard) -> AsyncIterator[Yard]:
    """The yard while its loop runs."""
    running = asyncio.create_task(yard.loop.run())
    await settle()
    yield yard
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    await yard.loop.drain(timedelta())


async def test_what_is_due_is_worked_on_together(yard: Yard) -> None:
    await yard.nudge("a", "b")
    assert (yard.begun, yard.loop.busy) == ({"a": 1, "b": 1}, 2)
    yard.held.set()
    await settle()
    assert (yard.finished, yard.loop.busy) == ({"a": 1, "b": 1}, 0)


async def test_it_looks_on_after_a_nudge_only(yard: Yard) -> None:
    looks = len(yard.rooms)
    yard.due.append("a")
    await settle()
    assert (len(yard.rooms), yard.begun) == (looks, {})
    await yard.nudge()
    assert yard.begun == {"a": 1}


async def test_it_looks_by_itself_when_its_tick_is_over() -> None:
    yard, begun = Yard(), asyncio.Event()

    async def third_time(room: int) -> Sequence[str]:
        yard.rooms.append(room)
        return ["a"] if len(yard.rooms) == 3 else []

    async def handle(_: str) -> None:
        begun.set()

    policy = LoopPolicy(3, tick=timedelta(microseconds=1))
    work = Work("yard", third_time, handle, str)
    running = asyncio.create_task(LeasedLoop(work, policy, yard.clock, yard.events.append).run())
    await begun.wait()
    running.cancel()
    assert len(yard.rooms) >= 3


async def test_an_item_is_never_worked_on_twice_at_once(yard: Yard) -> None:
    await yard.nudge("a")
    await yard.nudge("a")
    first, second = yard.loop.take("a"), yard.loop.take("a")
    assert first is second
    assert (yard.begun, yard.loop.busy) == ({"a": 1}, 1)
    yard.held.set()
    await first
    await settle()
    await yard.nudge("a")
    assert yard.begun == {"a": 2}


async def test_no_more_is_claimed_than_there_is_room_for(yard: Yard) -> None:
    await yard.nudge("a", "b", "c", "d")
    assert (yard.loop.busy, yard.due) == (3, ["d"])
    looks = len(yard.rooms)
    await yard.nudge()
    assert len(yard.rooms) == looks
    assert min(yard.rooms) >= 1


async def test_room_that_becomes_free_is_used_at_once(yard: Yard) -> None:
    yard.failures["a"] = StoreUnavailable()
    await yard.nudge("b", "c", "a", "d")
    assert (yard.begun, yard.due) == ({"a": 1, "b": 1, "c": 1, "d": 1}, [])


async def test_a_lost_store_is_told_once_and_waited_for(yard: Yard) -> None:
    yard.error = StoreUnavailable("connection refused")
    for _ in range(10):
        await yard.nudge()
        await yard.clock.advance(SECOND)
    assert yard.events == [RedisDisconnected(detail="yard: connection refused")]
    yard.error = None
    await yard.nudge("a")
    assert yard.events[1:] == [RedisReconnected(downtime=10 * SECOND)]
    assert yard.begun == {"a": 1}


async def test_a_lost_store_is_not_asked_again_before_the_pause_is_over(yard: Yard) -> None:
    yard.error = StoreUnavailable()
    await yard.nudge()
    looks = len(yard.rooms)
    await yard.nudge()
    await yard.clock.advance(0.9 * SECOND)
    assert len(yard.rooms) == looks
    await yard.clock.advance(0.1 * SECOND)
    assert len(yard.rooms) == looks + 1


async def test_a_store_that_is_lost_again_is_told_again(yard: Yard) -> None:
    for _ in range(2):
        yard.error = StoreSilent()
        await yard.nudge()
        yard.error = None
        await yard.clock.advance(SECOND)
        await yard.nudge()
    assert [type(event) for event in yard.events] == [RedisDisconnected, RedisReconnected] * 2


async def test_an_item_that_fails_is_told_and_ends_nothing(yard: Yard) -> None:
    error = RuntimeError("a defect")
    yard.failures["a"] = error
    await yard.nudge("a", "b")
    assert yard.events == [
        OperationalWarning(
            code="yard_failed", detail="RuntimeError: a defect", job_id="a", error=error
        )
    ]
    assert yard.begun == {"a": 1, "b": 1}
    await yard.nudge("c")
    assert yard.begun["c"] == 1


async def test_an_item_whose_store_is_away_is_left_to_its_lease(yard: Yard) -> None:
    yard.failures["a"] = StoreSilent()
    await yard.nudge("a")
    assert (yard.events, yard.loop.busy) == ([], 0)


async def test_a_drain_waits_for_what_is_under_way(yard: Yard) -> None:
    await yard.nudge("a", "b")
    draining = asyncio.create_task(yard.loop.drain(HOUR))
    await settle()
    assert not draining.done()
    yard.held.set()
    assert await draining == 0
    assert yard.finished == {"a": 1, "b": 1}


async def test_a_drain_cuts_what_takes_too_long(yard: Yard) -> None:
    await yard.nudge("a", "b")
    assert await yard.loop.drain(timedelta()) == 2
    assert (yard.finished, yard.loop.busy) == ({}, 0)


async def test_a_drain_with_nothing_under_way_is_over_at_once(yard: Yard) -> None:
    assert await yard.loop.drain(HOUR) == 0


async def test_in_batches_an_end_is_no_reason_to_look_where_nothing_was_left() -> None:
    async with at_work(Yard(at_once=4, batch=2)) as yard:
        await yard.nudge("a", "b")
        looks = len(yard.rooms)
        yard.held.set()
        await settle()
        assert (yard.loop.busy, len(yard.rooms)) == (0, looks)


async def test_in_batches_what_was_left_is_taken_as_soon_as_there_is_room() -> None:
    async with at_work(Yard(at_once=4, batch=2)) as yard:
        await yard.nudge(*"abcdef")
        assert (yard.loop.busy, yard.due) == (4, ["e", "f"])
        yard.held.set()
        await settle()
        assert (yard.due, sum(yard.finished.values())) == ([], 6)
