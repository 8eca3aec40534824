"""Turns of work on large bodies."""

import asyncio
import threading
from datetime import timedelta

import pytest

from service.parsing.body_budget import SMALL_BODY
from service.parsing.large_bodies import REST_FACTOR, LargeBodies
from tests.support.clock import FakeClock

LARGE = SMALL_BODY + 1
WORK = timedelta(milliseconds=40)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def bodies(clock: FakeClock) -> LargeBodies:
    return LargeBodies(clock)


async def work(bodies: LargeBodies, clock: FakeClock, owner: str) -> None:
    """Work that takes `WORK` of the clock's time."""
    await bodies.call(owner, LARGE, clock.move, WORK)


async def test_only_large_bodies_are_worked_on_in_a_thread(bodies: LargeBodies) -> None:
    here = threading.get_ident()
    assert await bodies.call("a", SMALL_BODY, threading.get_ident) == here
    assert await bodies.call("a", LARGE, threading.get_ident) != here
    assert await bodies.call_in_thread("a", threading.get_ident) != here


async def test_after_its_turn_a_tenant_rests_and_others_do_not(
    bodies: LargeBodies, clock: FakeClock
) -> None:
    await work(bodies, clock, "busy")
    second = asyncio.ensure_future(work(bodies, clock, "busy"))
    await work(bodies, clock, "other")  # moves the clock by one turn
    assert not second.done()
    await clock.advance((REST_FACTOR - 1) * WORK - timedelta(milliseconds=1))
    assert clock.sleepers == 1
    await clock.advance(timedelta(milliseconds=1))
    await second


async def test_small_bodies_of_a_resting_tenant_do_not_wait(
    bodies: LargeBodies, clock: FakeClock
) -> None:
    await work(bodies, clock, "busy")
    assert await bodies.call("busy", SMALL_BODY, len, b"x") == 1


async def test_work_that_fails_counts_too(bodies: LargeBodies, clock: FakeClock) -> None:
    def fail() -> None:
        clock.move(WORK)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await bodies.call("busy", LARGE, fail)
    second = asyncio.ensure_future(work(bodies, clock, "busy"))
    await clock.advance(timedelta())
    assert clock.sleepers == 1
    await clock.advance(REST_FACTOR * WORK)
    await second


async def test_a_caller_who_leaves_while_it_rests_frees_its_place(
    bodies: LargeBodies, clock: FakeClock
) -> None:
    await work(bodies, clock, "busy")
    left = asyncio.ensure_future(work(bodies, clock, "busy"))
    await clock.advance(timedelta())
    left.cancel()
    await clock.advance(REST_FACTOR * WORK)
    await work(bodies, clock, "busy")


async def test_the_turn_of_a_caller_who_leaves_lasts_as_long_as_its_thread(
    bodies: LargeBodies, clock: FakeClock
) -> None:
    may_end = threading.Event()
    running = asyncio.ensure_future(bodies.call("gone", LARGE, may_end.wait, 10))
    await clock.advance(timedelta())
    running.cancel()
    second = asyncio.ensure_future(work(bodies, clock, "other"))
    await clock.advance(timedelta())
    assert not second.done()
    assert not running.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await running
    await second
