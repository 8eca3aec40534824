"""The breaker over RunComfy: whether submits may leave, for all workers together. Pure.

Reads go on whatever it says: they cost nothing, and paid jobs must be watched.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum


class BreakerState(StrEnum):
    """Whether submits may leave."""

    CLOSED = "closed"
    """They may."""
    OPEN = "open"
    """They may not, before `until`."""
    HALF_OPEN = "probing"
    """One submit is finding out; the others wait, at the longest until `until`."""


class BreakerReason(StrEnum):
    """Why submits were stopped."""

    ACCOUNT_REFUSED = "account_refused"
    """RunComfy refused the account: 401, 402 or 403. An operator must act."""
    FAILING = "failing"
    """Submits in a row got no usable answer."""


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """When to stop, and for how long."""

    failure_threshold: int = 5
    """Submits in a row without a usable answer that open the breaker."""
    initial_pause: timedelta = timedelta(seconds=15)
    max_pause: timedelta = timedelta(minutes=5)
    probe_timeout: timedelta = timedelta(seconds=45)
    """How long a probe may take before another is let through."""
    probe_check_interval: timedelta = timedelta(seconds=2)
    """When those who wait for a probe ask how it went: it rarely takes all its time."""
    throttle_pause: timedelta = timedelta(seconds=2)
    """The pause after a 429 that named none; doubled for each further one."""


@dataclass(frozen=True, slots=True)
class CircuitBreaker:
    """The record that all workers share.

    `until` is when an open or probing breaker is asked again.
    """

    version: int = 0
    state: BreakerState = BreakerState.CLOSED
    reason: BreakerReason | None = None
    detail: str | None = None
    opened_at: datetime | None = None
    retry_at: datetime | None = None
    consecutive_failures: int = 0
    consecutive_openings: int = 0
    """Openings in a row, without a success between them."""
    consecutive_throttles: int = 0
    throttled_until: datetime | None = None

    def blocked_until(self, now: datetime) -> datetime | None:
        """None: a submit may leave (as a probe, if it is not closed); else when to ask again."""
        if self.throttled_until is not None and now < self.throttled_until:
            return self.throttled_until
        if self.state is BreakerState.CLOSED or self.retry_at is None or now >= self.retry_at:
            return None
        return self.retry_at

    def start_probe(self, now: datetime, policy: BreakerPolicy) -> "CircuitBreaker":
        """One submit is on its way to find out."""
        return self._next(state=BreakerState.HALF_OPEN, retry_at=now + policy.probe_timeout)

    def record_success(self) -> "CircuitBreaker":
        """A submit got a usable answer. A pause that RunComfy asked for by 429 goes on."""
        calm = CircuitBreaker(version=self.version, throttled_until=self.throttled_until)
        return self if self == calm else replace(calm, version=self.version + 1)

    def record_account_refusal(
        self, detail: str, now: datetime, policy: BreakerPolicy
    ) -> "CircuitBreaker":
        """RunComfy refused the account."""
        if self.state is BreakerState.OPEN and self.reason is BreakerReason.ACCOUNT_REFUSED:
            return self
        return self._open(BreakerReason.ACCOUNT_REFUSED, detail, now, policy)

    def record_failure(self, detail: str, now: datetime, policy: BreakerPolicy) -> "CircuitBreaker":
        """A submit got no usable answer. One that left before the opening tells nothing new."""
        if self.state is BreakerState.OPEN:
            return self
        failures = self.consecutive_failures + 1
        if failures < policy.failure_threshold and self.state is BreakerState.CLOSED:
            return self._next(consecutive_failures=failures)
        return self._open(BreakerReason.FAILING, detail, now, policy)

    def record_throttle(
        self, retry_after: timedelta | None, now: datetime, policy: BreakerPolicy
    ) -> "CircuitBreaker":
        """RunComfy said 429: all workers wait. Several that left together count as one."""
        pausing_until = self.throttled_until if self.throttled_until is not None else now
        if retry_after is None and now < pausing_until:
            return self
        own = min(
            policy.throttle_pause * 2 ** min(self.consecutive_throttles, 16), policy.max_pause
        )
        pause = own if retry_after is None else retry_after
        until = max(pausing_until, now + pause)
        return self._next(
            consecutive_throttles=self.consecutive_throttles + 1, throttled_until=until
        )

    def _open(
        self, reason: BreakerReason, detail: str, now: datetime, policy: BreakerPolicy
    ) -> "CircuitBreaker":
        pause = min(
            policy.initial_pause * 2 ** min(self.consecutive_openings, 16), policy.max_pause
        )
        return self._next(
            state=BreakerState.OPEN,
            reason=reason,
            detail=detail,
            opened_at=now if self.state is BreakerState.CLOSED else self.opened_at,
            retry_at=now + pause,
            consecutive_failures=0,
            consecutive_openings=self.consecutive_openings + 1,
        )

    def _next(self, **changes: object) -> "CircuitBreaker":
        return replace(self, version=self.version + 1, **changes)  # type: ignore[arg-type]  # own fields
