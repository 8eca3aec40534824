"""The gate before every paid call: asks the shared breaker, and tells it what submits met."""

import asyncio
from datetime import datetime
from typing import Final, Protocol

from core.circuit_breaker import Breaker, BreakerPolicy, BreakerState
from core.clock import Clock
from core.observability.events import CircuitBreakerTransitioned, Emit
from worker.ports import Accepted, NoAnswer, NotSent, Rejected, SubmitAnswer

_SWAPS: Final = 5
THROTTLED_STATUS: Final = frozenset({429, 503})


class Breakers(Protocol):
    """What the gate asks of the store."""

    async def load(self) -> Breaker:
        """The breaker as it stands."""
        ...

    async def swap(self, before: Breaker, after: Breaker) -> bool:
        """Store the next one, unless somebody was first."""
        ...

    async def take_submit(self) -> datetime | None:
        """Take a share of the global rate; None: go ahead."""
        ...


class BreakerGate:
    """Lets submits through while the breaker allows it, one at a time while it probes."""

    def __init__(self, breakers: Breakers, clock: Clock, policy: BreakerPolicy, emit: Emit) -> None:
        """All workers with the same store share one breaker."""
        self._breakers = breakers
        self._clock = clock
        self._policy = policy
        self._emit = emit

    async def closed_until(self) -> datetime | None:
        """None: go ahead; else when to ask again."""
        now = self._clock.now()
        # Together, since the breaker is nearly always closed: a share that is taken in vain while
        # it is not delays the first submit after it by one share at most.
        breaker, turn = await asyncio.gather(self._breakers.load(), self._breakers.take_submit())
        until = breaker.closed_until(now)
        if until is not None:
            return self._by_news(breaker, until, now)
        if breaker.state is BreakerState.CLOSED:
            return turn
        probing = breaker.probing(now, self._policy)
        if await self._swap(breaker, probing):
            return None
        return now + self._policy.probe_news

    def _by_news(self, breaker: Breaker, until: datetime, now: datetime) -> datetime:
        if breaker.state is not BreakerState.PROBING or until != breaker.until:
            return until
        return min(until, now + self._policy.probe_news)

    async def learn(self, answer: SubmitAnswer) -> None:
        """Note what a submit met. Somebody else's note in between is read and built upon."""
        for _ in range(_SWAPS):
            breaker = await self._breakers.load()
            after = learnt(breaker, answer, self._clock.now(), self._policy)
            if after == breaker or await self._swap(breaker, after):
                return

    async def _swap(self, before: Breaker, after: Breaker) -> bool:
        swapped = await self._breakers.swap(before, after)
        if swapped and before.state is not after.state:
            self._emit(
                CircuitBreakerTransitioned(before.state, after.state, after.reason, after.detail)
            )
        return swapped


def learnt(breaker: Breaker, answer: SubmitAnswer, now: datetime, policy: BreakerPolicy) -> Breaker:
    """The breaker after a submit's answer. A refused input is as good a sign of life as a yes."""
    match answer:
        case Accepted() | Rejected(account_refused=False):
            return breaker.succeeded()
        case Rejected(fault):
            return breaker.refused(fault.message, now, policy)
        case NotSent(fault, retry_after) if fault.http_status in THROTTLED_STATUS:
            return breaker.throttled(retry_after, now, policy)
        case NotSent(fault) | NoAnswer(fault):
            return breaker.failed(f"{fault.kind}: {fault.message}", now, policy)
