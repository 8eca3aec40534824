"""Applies the circuit breakers to submits, the only calls that cost money."""

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from core.clock import Clock
from core.jobs.job import Job, WaitingFor
from core.money import MicroUsd
from core.observability.events import CircuitBreakerTransitioned, Emit
from core.observability.outcomes import FaultKind
from core.store.interfaces import CircuitBreakerRepository, JobRepository
from core.upstream.circuit_breaker import BreakerPolicy, BreakerReason, BreakerState, CircuitBreaker
from core.upstream.circuits import (
    WOKEN_BY,
    Circuits,
    SubmitBlock,
    SubmitEvidence,
    SubmitSign,
    circuit_kind,
    record_balance_read,
    record_evidence,
    waiting_for_of,
)
from worker.ports import Accepted, Indeterminate, NotSent, RefusalScope, Rejected, SubmitAnswer

_MAX_TRIES: Final = 5
NO_MODEL: Final = ""
"""Loads the circuits that are no model's."""
THROTTLED_STATUSES: Final = frozenset({429, 503})
REFUSED: Final = frozenset({WaitingFor.ACCOUNT, WaitingFor.BALANCE})
"""What many jobs may wait for long: the cheapest of them is the probe, and wakes the others."""
REFUSED_CHECK_INTERVAL: Final = timedelta(minutes=1)
"""How often the others check, in case the cheapest was cancelled or its worker died."""
_SIGN_BY_SCOPE: Final = {
    RefusalScope.INPUT: SubmitSign.WORKS,
    RefusalScope.MODEL: SubmitSign.MODEL_REFUSED,
    RefusalScope.ACCOUNT: SubmitSign.ACCOUNT_REFUSED,
    RefusalScope.BALANCE: SubmitSign.BALANCE_REFUSED,
    RefusalScope.NONE: SubmitSign.NO_SIGN,
}


class SubmitCircuitBreaker:
    """Lets submits through while their circuits are closed, one at a time as a probe."""

    def __init__(
        self,
        breakers: CircuitBreakerRepository,
        jobs: JobRepository,
        clock: Clock,
        policy: BreakerPolicy,
        emit: Emit,
    ) -> None:
        """All workers with the same store share the circuit breakers."""
        self._breakers = breakers
        self._jobs = jobs
        self._clock = clock
        self._policy = policy
        self._emit = emit

    async def find_block(self, job: Job) -> SubmitBlock | None:
        """Return what stops the job's submit; None if it may be sent now."""
        now = self._clock.now()
        # Sent together, since the circuits are nearly always closed. A rate token that is taken
        # while one is open is wasted, and delays the first submit after it by one token at most.
        circuits, token_at = await asyncio.gather(
            self._breakers.load(job.model_id), self._breakers.take_submit_token()
        )
        block = circuits.find_block(job.id, job.estimate, now)
        if block is not None:
            return await self._next_check(job, circuits, block, now)
        for name, breaker in circuits.concerning(job.estimate):
            if breaker.state is not BreakerState.CLOSED and breaker.probe_job != job.id:
                stopped = await self._become_probe(job, name, breaker, now)
                if stopped is not None:
                    return stopped
        return None if token_at is None else SubmitBlock(WaitingFor.RUNCOMFY, token_at)

    async def _next_check(
        self, job: Job, circuits: Circuits, block: SubmitBlock, now: datetime
    ) -> SubmitBlock:
        if await self._must_let_another_probe(job, block.waiting_for):
            return replace(block, until=max(block.until, now + REFUSED_CHECK_INTERVAL))
        probing = any(
            breaker.state is BreakerState.HALF_OPEN and breaker.retry_at == block.until
            for _, breaker in circuits.concerning(job.estimate)
        )
        soon = now + self._policy.probe_check_interval
        return replace(block, until=min(block.until, soon)) if probing else block

    async def _must_let_another_probe(self, job: Job, waiting_for: WaitingFor) -> bool:
        """Return whether a cheaper job waits for the same: it is more likely to be accepted."""
        if waiting_for not in REFUSED or job.estimate is None:
            return False
        return await self._jobs.find_cheapest_waiting(waiting_for) not in {None, job.id}

    async def _become_probe(
        self, job: Job, name: str, breaker: CircuitBreaker, now: datetime
    ) -> SubmitBlock | None:
        """Make the job the probe of a breaker; else return what it waits for."""
        waiting_for = waiting_for_of(name, breaker)
        soon = SubmitBlock(waiting_for, now + self._policy.probe_check_interval)
        if await self._must_let_another_probe(job, waiting_for):
            return replace(soon, until=now + REFUSED_CHECK_INTERVAL)
        probing = breaker.start_probe(now, self._policy, job.id)
        return None if await self._compare_and_set(name, breaker, probing) else soon

    async def record_answer(self, job: Job, answer: SubmitAnswer) -> None:
        """Record the answer to a submit, on top of what other workers recorded meanwhile."""
        evidence = evidence_of(job, answer)
        for _ in range(_MAX_TRIES):
            before = await self._breakers.load(job.model_id)
            after = record_evidence(before, evidence, self._clock.now(), self._policy)
            if await self._store_changes(before, after):
                return

    async def is_refused(self) -> bool:
        """Return whether RunComfy refuses the account, or a price for want of balance."""
        circuits = await self._breakers.load(NO_MODEL)
        shared = circuits.account, circuits.balance
        return any(
            one.state is not BreakerState.CLOSED and one.reason is not BreakerReason.FAILING
            for one in shared
        )

    async def record_balance_read(self, balance: MicroUsd | None, interval: timedelta) -> None:
        """Record a read of the balance, the next of which comes after `interval`; None: refused."""
        before, now = await self._breakers.load(NO_MODEL), self._clock.now()
        after = record_balance_read(before, balance, now, interval)
        await self._store_changes(before, after)
        for name, breaker in after.named().items():
            if breaker.retry_at == now and breaker != before.named()[name]:
                await self._jobs.wake_waiting(waiting_for_of(name, breaker))

    async def _store_changes(self, before: Circuits, after: Circuits) -> bool:
        """Store the breakers that differ; return False if another worker changed one of them."""
        changed = after.named()
        stored = [
            await self._compare_and_set(name, breaker, changed[name])
            for name, breaker in before.named().items()
            if changed[name] != breaker
        ]
        return all(stored)

    async def _compare_and_set(
        self, name: str, before: CircuitBreaker, after: CircuitBreaker
    ) -> bool:
        swapped = await self._breakers.compare_and_set(name, before, after)
        if swapped and before.state is not after.state:
            kind = circuit_kind(name)
            self._emit(
                CircuitBreakerTransitioned(
                    kind, name, before.state, after.state, after.reason, after.detail
                )
            )
            if after.state is BreakerState.CLOSED:
                for waiting_for in WOKEN_BY[kind]:
                    await self._jobs.wake_waiting(waiting_for)
        return swapped


def evidence_of(job: Job, answer: SubmitAnswer) -> SubmitEvidence:
    """Return what the answer to a job's submit states about RunComfy, the account and the model."""
    known = SubmitEvidence(SubmitSign.WORKS, job.model_id, job.estimate)
    match answer:
        case Accepted():
            return known
        case Rejected(fault, scope):
            return replace(known, sign=_SIGN_BY_SCOPE[scope], detail=fault.message)
        case NotSent(fault, retry_after) if fault.http_status in THROTTLED_STATUSES:
            return replace(known, sign=SubmitSign.THROTTLED, retry_after=retry_after)
        case NotSent(fault) | Indeterminate(fault):
            local = fault.http_status is None and fault.kind in _UNREACHABLE
            sign = SubmitSign.UNREACHABLE if local else SubmitSign.FAILED
            return replace(known, sign=sign, detail=f"{fault.kind}: {fault.message}")


_UNREACHABLE: Final = frozenset(
    {FaultKind.CONNECT_ERROR.value, FaultKind.CONNECT_TIMEOUT.value, FaultKind.PROXY_ERROR.value}
)
