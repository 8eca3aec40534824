"""Applies the circuit breaker to submits, the only calls that cost money."""

import asyncio
from datetime import datetime
from typing import Final

from core.circuit_breaker import BreakerPolicy, BreakerState, CircuitBreaker
from core.clock import Clock
from core.observability.events import CircuitBreakerTransitioned, Emit
from core.store.interfaces import CircuitBreakerRepository
from worker.ports import Accepted, Indeterminate, NotSent, Rejected, SubmitAnswer

_MAX_TRIES: Final = 5
THROTTLED_STATUSES: Final = frozenset({429, 503})


class SubmitCircuitBreaker:
    """Lets submits through while the circuit is closed, one at a time while it is half-open."""

    def __init__(
        self, breaker: CircuitBreakerRepository, clock: Clock, policy: BreakerPolicy, emit: Emit
    ) -> None:
        """All workers with the same store share one circuit breaker."""
        self._breaker = breaker
        self._clock = clock
        self._policy = policy
        self._emit = emit

    async def blocked_until(self) -> datetime | None:
        """Return when to check again; None if a submit may be sent now."""
        now = self._clock.now()
        # Sent together, since the circuit is nearly always closed. A rate token that is taken while
        # it is open is wasted, and delays the first submit after it by one token at most.
        breaker, token_at = await asyncio.gather(
            self._breaker.load(), self._breaker.take_submit_token()
        )
        until = breaker.blocked_until(now)
        if until is not None:
            return self._next_check_at(breaker, until, now)
        if breaker.state is BreakerState.CLOSED:
            return token_at
        probing = breaker.start_probe(now, self._policy)
        if await self._compare_and_set(breaker, probing):
            return None
        return now + self._policy.probe_check_interval

    def _next_check_at(self, breaker: CircuitBreaker, until: datetime, now: datetime) -> datetime:
        if breaker.state is not BreakerState.HALF_OPEN or until != breaker.retry_at:
            return until
        return min(until, now + self._policy.probe_check_interval)

    async def record_result(self, answer: SubmitAnswer) -> None:
        """Record the answer to a submit, on top of what other workers recorded meanwhile."""
        for _ in range(_MAX_TRIES):
            breaker = await self._breaker.load()
            after = breaker_after(breaker, answer, self._clock.now(), self._policy)
            if after == breaker or await self._compare_and_set(breaker, after):
                return

    async def _compare_and_set(self, before: CircuitBreaker, after: CircuitBreaker) -> bool:
        swapped = await self._breaker.compare_and_set(before, after)
        if swapped and before.state is not after.state:
            self._emit(
                CircuitBreakerTransitioned(before.state, after.state, after.reason, after.detail)
            )
        return swapped


def breaker_after(
    breaker: CircuitBreaker, answer: SubmitAnswer, now: datetime, policy: BreakerPolicy
) -> CircuitBreaker:
    """Return the circuit after a submit's answer.

    A rejected input counts as a success: RunComfy and the account work.
    """
    match answer:
        case Accepted() | Rejected(account_rejected=False):
            return breaker.record_success()
        case Rejected(fault):
            return breaker.record_account_refusal(fault.message, now, policy)
        case NotSent(fault, retry_after) if fault.http_status in THROTTLED_STATUSES:
            return breaker.record_throttle(retry_after, now, policy)
        case NotSent(fault) | Indeterminate(fault):
            return breaker.record_failure(f"{fault.kind}: {fault.message}", now, policy)
