"""The gate before every paid call: shared by all workers, one probe at a time."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import cast

import pytest

from core.jobs.job import Job, WaitingFor
from core.money import MicroUsd
from core.observability.events import CircuitBreakerTransitioned, Event
from core.store.interfaces import JobRepository
from core.upstream.circuit_breaker import BreakerPolicy, BreakerReason, BreakerState, CircuitBreaker
from core.upstream.circuits import ACCOUNT, BALANCE, Circuits, SubmitSign, model_circuit
from tests.support.clock import FakeClock
from tests.support.records import MINUTE, NOW, SECOND, at, fault, job
from worker.jobs.submit_circuit_breaker import (
    REFUSED_CHECK_INTERVAL,
    SubmitCircuitBreaker,
    evidence_of,
)
from worker.ports import Accepted, Indeterminate, NotSent, RefusalScope, Rejected, SubmitAnswer

S = BreakerState
POLICY = BreakerPolicy(failure_threshold=3)
ACCEPTED = Accepted("up-1")
BAD_INPUT = Rejected(fault("invalid_input", 422))
ACCOUNT_REFUSED = Rejected(fault("account_rejected", 401), RefusalScope.ACCOUNT)
NO_BALANCE = Rejected(fault("balance_rejected", 402), RefusalScope.BALANCE)
MODEL_REFUSED = Rejected(fault("model_rejected", 403), RefusalScope.MODEL)
PAGE = Rejected(fault("html", 403), RefusalScope.NONE)
TIMEOUT = Indeterminate(fault("read_timeout", None))
UNCONNECTED = NotSent(fault("connect_error", None))
THROTTLED = NotSent(fault("throttled", 429))
JOB = job(id="req_1", estimate=MicroUsd(500))
OTHER = job(id="req_2", estimate=MicroUsd(900))


@dataclass
class StubCircuitBreakerStore:
    """The shared records. At the next swaps another worker is first, with `competing_writes`."""

    stored: dict[str, CircuitBreaker] = field(default_factory=dict)
    competing_writes: list[Callable[[CircuitBreaker], CircuitBreaker]] = field(default_factory=list)
    swaps: int = 0

    def get(self, name: str) -> CircuitBreaker:
        return self.stored.get(name, CircuitBreaker())

    async def load(self, model_id: str) -> Circuits:
        await asyncio.sleep(0)
        names = ACCOUNT, BALANCE, model_circuit(model_id)
        return Circuits(model_id, *map(self.get, names))

    async def load_all(self) -> Mapping[str, CircuitBreaker]:
        raise AssertionError

    async def compare_and_set(
        self, name: str, before: CircuitBreaker, after: CircuitBreaker
    ) -> bool:
        await asyncio.sleep(0)
        self.swaps += 1
        if self.competing_writes:
            self.stored[name] = self.competing_writes.pop()(self.get(name))
        if self.get(name).version != before.version:
            return False
        self.stored[name] = after
        return True

    async def take_submit_token(self) -> None:
        """No global rate."""


@dataclass
class StubWaitingJobs:
    """What waits: the cheapest job of each kind, and the kinds that were woken."""

    cheapest: dict[WaitingFor, str] = field(default_factory=dict)
    woken: list[WaitingFor] = field(default_factory=list)

    async def find_cheapest_waiting(self, waiting_for: WaitingFor) -> str | None:
        return self.cheapest.get(waiting_for)

    async def wake_waiting(self, waiting_for: WaitingFor) -> int:
        self.woken.append(waiting_for)
        return 0


class GatePair:
    """Two gates over the same circuit breakers and one clock."""

    def __init__(self) -> None:
        self.breakers = StubCircuitBreakerStore()
        self.jobs = StubWaitingJobs()
        self.clock = FakeClock()
        self.events: list[Event] = []
        self.one, self.other = (
            SubmitCircuitBreaker(
                self.breakers,
                cast("JobRepository", self.jobs),
                self.clock,
                POLICY,
                self.events.append,
            )
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


async def until(gate: SubmitCircuitBreaker, job: Job = JOB) -> datetime | None:
    """Until when the job's submit is blocked."""
    block = await gate.find_block(job)
    return None if block is None else block.until


async def test_while_all_are_closed_every_submit_goes_and_nothing_is_written(
    gates: GatePair,
) -> None:
    for _ in range(3):
        assert await gates.one.find_block(JOB) is None
        await gates.one.record_answer(JOB, ACCEPTED)
    assert (gates.breakers.swaps, gates.events) == (0, [])


async def test_a_refused_account_stops_every_worker_at_once(gates: GatePair) -> None:
    await gates.one.record_answer(JOB, ACCOUNT_REFUSED)
    block = await gates.other.find_block(OTHER)
    assert block is not None
    assert (block.waiting_for, block.until) == (WaitingFor.ACCOUNT, at(5))
    assert gates.events == [
        CircuitBreakerTransitioned(
            "account",
            "account",
            S.CLOSED,
            S.OPEN,
            BreakerReason.ACCOUNT_REFUSED,
            "RunComfy says account_rejected",
        )
    ]


async def test_a_refused_model_stops_nobody(gates: GatePair) -> None:
    for _ in range(20):
        await gates.one.record_answer(JOB, MODEL_REFUSED)
        assert await gates.other.find_block(OTHER) is None


async def test_failures_of_one_model_stop_that_model(gates: GatePair) -> None:
    for gate in (gates.one, gates.other, gates.one, gates.other, gates.one):
        await gate.record_answer(JOB, TIMEOUT)
    assert await until(gates.one) == at(15)
    assert await gates.one.find_block(replace(JOB, model_id="other/model")) is None
    assert gates.moves == [(S.CLOSED, S.OPEN)]


async def test_a_good_answer_between_them_starts_the_count_anew(gates: GatePair) -> None:
    for answer in (TIMEOUT, UNCONNECTED, BAD_INPUT, TIMEOUT, UNCONNECTED):
        await gates.one.record_answer(JOB, answer)
    assert await gates.one.find_block(JOB) is None


async def test_exactly_one_probe_goes_when_two_jobs_are_due_at_once(gates: GatePair) -> None:
    await gates.one.record_answer(JOB, ACCOUNT_REFUSED)
    await gates.clock.advance(5 * SECOND)
    found = await asyncio.gather(until(gates.one, JOB), until(gates.other, OTHER))
    assert sorted(found, key=str) == [at(5 + 2), None]
    assert gates.moves == [(S.CLOSED, S.OPEN), (S.OPEN, S.HALF_OPEN)]


async def test_a_probe_may_pass_again_once_it_has_its_slot(gates: GatePair) -> None:
    await gates.one.record_answer(JOB, ACCOUNT_REFUSED)
    await gates.clock.advance(5 * SECOND)
    assert await gates.one.find_block(JOB) is None
    assert await gates.other.find_block(JOB) is None
    assert await until(gates.other, OTHER) == at(5 + 2)


async def test_a_probe_that_succeeds_lets_all_go_on_at_once(gates: GatePair) -> None:
    await gates.one.record_answer(JOB, ACCOUNT_REFUSED)
    await gates.clock.advance(5 * SECOND)
    assert await gates.one.find_block(JOB) is None
    await gates.one.record_answer(JOB, ACCEPTED)
    assert await gates.other.find_block(OTHER) is None
    assert gates.moves[-1] == (S.HALF_OPEN, S.CLOSED)
    assert gates.jobs.woken == [WaitingFor.ACCOUNT, WaitingFor.RUNCOMFY]


async def test_the_cheapest_waiting_job_is_the_probe(gates: GatePair) -> None:
    await gates.one.record_answer(JOB, NO_BALANCE)
    gates.jobs.cheapest = {WaitingFor.BALANCE: "req_2"}
    assert await until(gates.one) == NOW + REFUSED_CHECK_INTERVAL
    await gates.clock.advance(5 * SECOND)
    assert await until(gates.one) == at(5) + REFUSED_CHECK_INTERVAL
    assert await gates.one.find_block(OTHER) is None
    assert gates.breakers.get(BALANCE).probe_job == "req_2"


async def test_a_job_of_unknown_price_probes_its_model_whatever_else_waits(
    gates: GatePair,
) -> None:
    unknown = replace(JOB, estimate=None)
    await gates.one.record_answer(unknown, NO_BALANCE)
    gates.jobs.cheapest = {WaitingFor.BALANCE: "req_2"}
    block = await gates.one.find_block(unknown)
    assert block is not None
    assert (block.waiting_for, block.until) == (WaitingFor.BALANCE, at(5))
    await gates.clock.advance(5 * SECOND)
    assert await gates.one.find_block(unknown) is None


async def test_others_check_the_probe_often(gates: GatePair) -> None:
    for _ in range(3):
        await gates.one.record_answer(JOB, TIMEOUT)
    await gates.clock.advance(15 * SECOND)
    assert await gates.one.find_block(JOB) is None
    await gates.clock.advance(44 * SECOND)
    assert await until(gates.other, OTHER) == at(15 + 45)  # another may leave then
    await gates.one.record_answer(JOB, NotSent(fault("throttled", 429), MINUTE))
    assert await until(gates.other, OTHER) == at(15 + 44 + 60)


async def test_a_probe_whose_worker_died_is_replaced(gates: GatePair) -> None:
    await gates.one.record_answer(JOB, ACCOUNT_REFUSED)
    await gates.clock.advance(5 * SECOND)
    assert await gates.one.find_block(JOB) is None
    await gates.clock.advance(POLICY.probe_timeout)
    assert await gates.other.find_block(OTHER) is None
    assert gates.breakers.get(ACCOUNT).probe_job == "req_2"


async def test_a_429_slows_its_model_in_every_worker(gates: GatePair) -> None:
    await gates.one.record_answer(JOB, NotSent(fault("throttled", 429), MINUTE))
    assert await until(gates.other) == at(60)
    assert await gates.other.find_block(replace(JOB, model_id="other/model")) is None
    await gates.clock.advance(MINUTE)
    assert await gates.other.find_block(JOB) is None
    assert gates.events == []


async def test_what_another_worker_recorded_is_built_upon(gates: GatePair) -> None:
    gates.breakers.competing_writes = [
        lambda breaker: breaker.record_failure("theirs", NOW, POLICY)
    ] * 2
    await gates.one.record_answer(JOB, UNCONNECTED)
    assert gates.breakers.get(ACCOUNT).state is S.OPEN
    assert gates.moves == [(S.CLOSED, S.OPEN)]


async def test_an_answer_that_cannot_be_recorded_is_given_up(gates: GatePair) -> None:
    theft = [lambda breaker: replace(breaker, version=breaker.version + 1)]
    gates.breakers.competing_writes = theft * 99
    await gates.one.record_answer(JOB, UNCONNECTED)
    assert gates.breakers.swaps == 5


SIGNS: dict[str, tuple[SubmitAnswer, SubmitSign]] = {
    "accepted": (ACCEPTED, SubmitSign.WORKS),
    "a refused input": (BAD_INPUT, SubmitSign.WORKS),
    "a refused account": (ACCOUNT_REFUSED, SubmitSign.ACCOUNT_REFUSED),
    "no balance": (NO_BALANCE, SubmitSign.BALANCE_REFUSED),
    "a refused model": (MODEL_REFUSED, SubmitSign.MODEL_REFUSED),
    "a page": (PAGE, SubmitSign.NO_SIGN),
    "429": (THROTTLED, SubmitSign.THROTTLED),
    "503 with a pause": (NotSent(fault("unavailable", 503), SECOND), SubmitSign.THROTTLED),
    "not connected": (UNCONNECTED, SubmitSign.UNREACHABLE),
    "no connection in time": (NotSent(fault("connect_timeout", None)), SubmitSign.UNREACHABLE),
    "425": (NotSent(fault("http_4xx", 425)), SubmitSign.FAILED),
    "no answer": (TIMEOUT, SubmitSign.FAILED),
    "500": (Indeterminate(fault("http_5xx", 500)), SubmitSign.FAILED),
}


@pytest.mark.parametrize("case", SIGNS)
def test_what_each_answer_says(case: str) -> None:
    answer, sign = SIGNS[case]
    evidence = evidence_of(JOB, answer)
    assert (evidence.sign, evidence.model_id, evidence.price) == (sign, JOB.model_id, 500)


def test_every_sign_has_an_answer() -> None:
    assert {sign for _, sign in SIGNS.values()} == set(SubmitSign)
