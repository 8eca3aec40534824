"""The gate before every paid call: one breaker for all workers, one probe at a time."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from core.circuit_breaker import Breaker, BreakerPolicy, BreakerReason, BreakerState
from core.observability.events import CircuitBreakerTransitioned
from tests.builders import MINUTE, NOW, SECOND, at, fault
from tests.fakes.clock import FakeClock
from worker.jobs.submit_gate import BreakerGate, learnt
from worker.ports import Accepted, NoAnswer, NotSent, Rejected, SubmitAnswer

if TYPE_CHECKING:
    from collections.abc import Callable

    from core.observability.events import Event

S = BreakerState
POLICY = BreakerPolicy(failures=3)
ACCEPTED = Accepted("up-1")
BAD_INPUT = Rejected(fault("invalid_input", 422))
ACCOUNT = Rejected(fault("account_refused", 402), account_refused=True)
TIMEOUT = NoAnswer(fault("read_timeout", None))
UNCONNECTED = NotSent(fault("connect_error", None))
THROTTLED = NotSent(fault("throttled", 429))


class OneBreaker:
    """The shared record. At the next swaps somebody is first, and writes what `thefts` make."""

    def __init__(self) -> None:
        self.stored = Breaker()
        self.thefts: list[Callable[[Breaker], Breaker]] = []
        self.swaps = 0

    async def load(self) -> Breaker:
        await asyncio.sleep(0)
        return self.stored

    async def swap(self, before: Breaker, after: Breaker) -> bool:
        await asyncio.sleep(0)
        self.swaps += 1
        if self.thefts:
            self.stored = self.thefts.pop()(self.stored)
        if self.stored.version != before.version:
            return False
        self.stored = after
        return True

    async def take_submit(self) -> None:
        """No global rate."""


class Workers:
    """Two gates over one breaker and one clock."""

    def __init__(self) -> None:
        self.breakers = OneBreaker()
        self.clock = FakeClock()
        self.events: list[Event] = []
        self.one, self.other = (
            BreakerGate(self.breakers, self.clock, POLICY, self.events.append) for _ in range(2)
        )

    @property
    def moves(self) -> list[tuple[BreakerState, BreakerState]]:
        return [
            (e.before, e.after) for e in self.events if isinstance(e, CircuitBreakerTransitioned)
        ]


@pytest.fixture
def workers() -> Workers:
    return Workers()


async def test_while_it_is_closed_all_go_and_nothing_is_written(workers: Workers) -> None:
    for _ in range(3):
        assert await workers.one.closed_until() is None
        await workers.one.learn(ACCEPTED)
    assert (workers.breakers.swaps, workers.events) == (0, [])


async def test_a_refused_account_stops_every_worker_at_once(workers: Workers) -> None:
    await workers.one.learn(ACCOUNT)
    assert await workers.other.closed_until() == at(15)
    assert workers.events == [
        CircuitBreakerTransitioned(
            S.CLOSED, S.OPEN, BreakerReason.ACCOUNT_REFUSED, "RunComfy says account_refused"
        )
    ]


async def test_failures_in_a_row_stop_all_and_are_told_once(workers: Workers) -> None:
    for gate in (workers.one, workers.other, workers.one, workers.other, workers.one):
        await gate.learn(TIMEOUT)
    assert await workers.one.closed_until() == at(15)
    assert workers.moves == [(S.CLOSED, S.OPEN)]


async def test_a_good_answer_between_them_starts_the_count_anew(workers: Workers) -> None:
    for answer in (TIMEOUT, UNCONNECTED, BAD_INPUT, TIMEOUT, UNCONNECTED):
        await workers.one.learn(answer)
    assert await workers.one.closed_until() is None


async def test_exactly_one_probe_goes_when_two_ask_at_once(workers: Workers) -> None:
    await workers.one.learn(ACCOUNT)
    await workers.clock.advance(15 * SECOND)
    verdicts = await asyncio.gather(workers.one.closed_until(), workers.other.closed_until())
    assert sorted(verdicts, key=str) == [at(15 + 2), None]
    assert await workers.one.closed_until() == at(15 + 2)
    assert workers.moves == [(S.CLOSED, S.OPEN), (S.OPEN, S.PROBING)]


async def test_a_probe_that_succeeds_lets_all_go_again(workers: Workers) -> None:
    await workers.one.learn(ACCOUNT)
    await workers.clock.advance(15 * SECOND)
    assert await workers.one.closed_until() is None
    await workers.one.learn(ACCEPTED)
    assert await workers.other.closed_until() is None
    assert workers.moves[-1] == (S.PROBING, S.CLOSED)


async def test_who_waits_for_a_probe_asks_soon_how_it_went(workers: Workers) -> None:
    await workers.one.learn(ACCOUNT)
    await workers.clock.advance(15 * SECOND)
    assert await workers.one.closed_until() is None
    await workers.clock.advance(44 * SECOND)
    assert await workers.other.closed_until() == at(15 + 45)  # another may leave then
    await workers.one.learn(NotSent(fault("throttled", 429), MINUTE))
    assert await workers.other.closed_until() == at(15 + 44 + 60)


async def test_a_probe_that_fails_doubles_the_pause(workers: Workers) -> None:
    await workers.one.learn(ACCOUNT)
    await workers.clock.advance(15 * SECOND)
    assert await workers.one.closed_until() is None
    await workers.one.learn(ACCOUNT)
    assert await workers.other.closed_until() == at(15 + 30)


async def test_a_probe_whose_worker_died_is_replaced(workers: Workers) -> None:
    await workers.one.learn(ACCOUNT)
    await workers.clock.advance(15 * SECOND)
    assert await workers.one.closed_until() is None
    await workers.clock.advance(POLICY.probe)
    assert await workers.other.closed_until() is None
    assert await workers.one.closed_until() == at(15 + 45 + 2)


async def test_a_429_slows_every_worker(workers: Workers) -> None:
    await workers.one.learn(NotSent(fault("throttled", 429), MINUTE))
    assert await workers.other.closed_until() == at(60)
    await workers.clock.advance(MINUTE)
    assert await workers.other.closed_until() is None
    assert workers.events == []


async def test_a_note_of_somebody_else_is_built_upon(workers: Workers) -> None:
    workers.breakers.thefts = [lambda breaker: breaker.failed("theirs", NOW, POLICY)] * 2
    await workers.one.learn(TIMEOUT)
    assert workers.breakers.stored.state is S.OPEN
    assert workers.moves == [(S.CLOSED, S.OPEN)]


async def test_a_note_that_never_gets_through_is_given_up(workers: Workers) -> None:
    theft = [lambda breaker: replace(breaker, version=breaker.version + 1)]
    workers.breakers.thefts = theft * 99
    await workers.one.learn(THROTTLED)
    assert workers.breakers.swaps == 5


# The answer -> the state after it, from a breaker one failure short of opening.
MEANINGS: dict[str, tuple[SubmitAnswer, BreakerState, int]] = {
    "accepted": (ACCEPTED, S.CLOSED, 0),
    "a refused input": (BAD_INPUT, S.CLOSED, 0),
    "a refused account": (ACCOUNT, S.OPEN, 0),
    "no answer": (TIMEOUT, S.OPEN, 0),
    "not connected": (UNCONNECTED, S.OPEN, 0),
    "429": (THROTTLED, S.CLOSED, 2),
    "503": (NotSent(fault("unavailable", 503), SECOND), S.CLOSED, 2),
}


@pytest.mark.parametrize(("answer", "state", "failures"), MEANINGS.values(), ids=MEANINGS)
def test_what_each_answer_means(answer: SubmitAnswer, state: BreakerState, failures: int) -> None:
    after = learnt(Breaker(failures=2), answer, NOW, POLICY)
    assert (after.state, after.failures) == (state, failures)
