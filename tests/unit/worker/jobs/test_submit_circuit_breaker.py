"""The circuit breaker of submits: one for all workers, one probe at a time."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from core.circuit_breaker import BreakerPolicy, BreakerReason, BreakerState, CircuitBreaker
from core.observability.events import CircuitBreakerTransitioned, Event
from tests.support.clock import FakeClock
from tests.support.records import MINUTE, NOW, SECOND, at, fault
from worker.jobs.submit_circuit_breaker import SubmitCircuitBreaker, breaker_after
from worker.ports import Accepted, Indeterminate, NotSent, Rejected, SubmitAnswer

S = BreakerState
POLICY = BreakerPolicy(failure_threshold=3)
ACCEPTED = Accepted("up-1")
BAD_INPUT = Rejected(fault("invalid_input", 422))
ACCOUNT = Rejected(fault("account_refused", 402), account_rejected=True)
TIMEOUT = Indeterminate(fault("read_timeout", None))
UNCONNECTED = NotSent(fault("connect_error", None))
THROTTLED = NotSent(fault("throttled", 429))


class StubCircuitBreakerStore:
    """The shared record; the next swaps lose to a writer that stores what `thefts` return."""

    def __init__(self) -> None:
        self.stored = CircuitBreaker()
        self.competing_writes: list[Callable[[CircuitBreaker], CircuitBreaker]] = []
        self.swaps = 0

    async def load(self) -> CircuitBreaker:
        await asyncio.sleep(0)
        return self.stored

    async def compare_and_set(self, before: CircuitBreaker, after: CircuitBreaker) -> bool:
        await asyncio.sleep(0)
        self.swaps += 1
        if self.competing_writes:
            self.stored = self.competing_writes.pop()(self.stored)
        if self.stored.version != before.version:
            return False
        self.stored = after
        return True

    async def take_submit_token(self) -> None:
        """Grant a token: there is no global rate limit."""


class GatePair:
    """Two workers' breakers over one record and one clock."""

    def __init__(self) -> None:
        self.breakers = StubCircuitBreakerStore()
        self.clock = FakeClock()
        self.events: list[Event] = []
        self.one, self.other = (
            SubmitCircuitBreaker(self.breakers, self.clock, POLICY, self.events.append)
            for _ in range(2)
        )

    @property
    def moves(self) -> list[tuple[BreakerState, BreakerState]]:
        return [
            (e.before, e.after) for e in self.events if isinstance(e, CircuitBreakerTransitioned)
        ]


@pytest.fixture
def gates() -> GatePair:
    return GatePair()


async def test_while_it_is_closed_all_go_and_nothing_is_written(gates: GatePair) -> None:
    for _ in range(3):
        assert await gates.one.blocked_until() is None
        await gates.one.record_result(ACCEPTED)
    assert (gates.breakers.swaps, gates.events) == (0, [])


async def test_a_refused_account_stops_every_worker_at_once(gates: GatePair) -> None:
    await gates.one.record_result(ACCOUNT)
    assert await gates.other.blocked_until() == at(15)
    assert gates.events == [
        CircuitBreakerTransitioned(
            S.CLOSED, S.OPEN, BreakerReason.ACCOUNT_REFUSED, "RunComfy says account_refused"
        )
    ]


async def test_failures_in_a_row_stop_all_and_are_told_once(gates: GatePair) -> None:
    for gate in (gates.one, gates.other, gates.one, gates.other, gates.one):
        await gate.record_result(TIMEOUT)
    assert await gates.one.blocked_until() == at(15)
    assert gates.moves == [(S.CLOSED, S.OPEN)]


async def test_a_good_answer_between_them_starts_the_count_anew(gates: GatePair) -> None:
    for answer in (TIMEOUT, UNCONNECTED, BAD_INPUT, TIMEOUT, UNCONNECTED):
        await gates.one.record_result(answer)
    assert await gates.one.blocked_until() is None


async def test_exactly_one_probe_goes_when_two_ask_at_once(gates: GatePair) -> None:
    await gates.one.record_result(ACCOUNT)
    await gates.clock.advance(15 * SECOND)
    verdicts = await asyncio.gather(gates.one.blocked_until(), gates.other.blocked_until())
    assert sorted(verdicts, key=str) == [at(15 + 2), None]
    assert await gates.one.blocked_until() == at(15 + 2)
    assert gates.moves == [(S.CLOSED, S.OPEN), (S.OPEN, S.HALF_OPEN)]


async def test_a_probe_that_succeeds_lets_all_go_again(gates: GatePair) -> None:
    await gates.one.record_result(ACCOUNT)
    await gates.clock.advance(15 * SECOND)
    assert await gates.one.blocked_until() is None
    await gates.one.record_result(ACCEPTED)
    assert await gates.other.blocked_until() is None
    assert gates.moves[-1] == (S.HALF_OPEN, S.CLOSED)


async def test_who_waits_for_a_probe_asks_soon_how_it_went(gates: GatePair) -> None:
    await gates.one.record_result(ACCOUNT)
    await gates.clock.advance(15 * SECOND)
    assert await gates.one.blocked_until() is None
    await gates.clock.advance(44 * SECOND)
    assert await gates.other.blocked_until() == at(15 + 45)  # another may leave then
    await gates.one.record_result(NotSent(fault("throttled", 429), MINUTE))
    assert await gates.other.blocked_until() == at(15 + 44 + 60)


async def test_a_probe_that_fails_doubles_the_pause(gates: GatePair) -> None:
    await gates.one.record_result(ACCOUNT)
    await gates.clock.advance(15 * SECOND)
    assert await gates.one.blocked_until() is None
    await gates.one.record_result(ACCOUNT)
    assert await gates.other.blocked_until() == at(15 + 30)


async def test_a_probe_whose_worker_died_is_replaced(gates: GatePair) -> None:
    await gates.one.record_result(ACCOUNT)
    await gates.clock.advance(15 * SECOND)
    assert await gates.one.blocked_until() is None
    await gates.clock.advance(POLICY.probe_timeout)
    assert await gates.other.blocked_until() is None
    assert await gates.one.blocked_until() == at(15 + 45 + 2)


async def test_a_429_slows_every_worker(gates: GatePair) -> None:
    await gates.one.record_result(NotSent(fault("throttled", 429), MINUTE))
    assert await gates.other.blocked_until() == at(60)
    await gates.clock.advance(MINUTE)
    assert await gates.other.blocked_until() is None
    assert gates.events == []


async def test_a_note_of_somebody_else_is_built_upon(gates: GatePair) -> None:
    gates.breakers.competing_writes = [
        lambda breaker: breaker.record_failure("theirs", NOW, POLICY)
    ] * 2
    await gates.one.record_result(TIMEOUT)
    assert gates.breakers.stored.state is S.OPEN
    assert gates.moves == [(S.CLOSED, S.OPEN)]


async def test_a_note_that_never_gets_through_is_given_up(gates: GatePair) -> None:
    theft = [lambda breaker: replace(breaker, version=breaker.version + 1)]
    gates.breakers.competing_writes = theft * 99
    await gates.one.record_result(THROTTLED)
    assert gates.breakers.swaps == 5


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
    after = breaker_after(CircuitBreaker(consecutive_failures=2), answer, NOW, POLICY)
    assert (after.state, after.consecutive_failures) == (state, failures)
