"""The circuit breaker for submits to RunComfy, shared by all workers. Pure.

It never stops reads: they cost nothing, and jobs that are paid for must be polled.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum


class BreakerState(StrEnum):
    """Whether submits may be sent."""

    CLOSED = "closed"
    """They may."""
    OPEN = "open"
    """They may not, before `retry_at`."""
    HALF_OPEN = "probing"
    """One submit is sent as a probe; the others wait, until `retry_at` at the longest."""


class BreakerReason(StrEnum):
    """Why submits were stopped."""

    ACCOUNT_REFUSED = "account_refused"
    """RunComfy refused the account: 401, 402 or 403. An operator must act."""
    FAILING = "failing"
    """Several submits in a row got no usable answer."""


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """When the breaker opens, and for how long."""

    failure_threshold: int = 5
    """Submits in a row without a usable answer that open the breaker."""
    initial_pause: timedelta = timedelta(seconds=15)
    max_pause: timedelta = timedelta(minutes=5)
    probe_timeout: timedelta = timedelta(seconds=45)
    """How long a probe may take before another one is sent."""
    probe_check_interval: timedelta = timedelta(seconds=2)
    """How often waiting submits check the probe, which rarely takes all of `probe_timeout`."""
    throttle_pause: timedelta = timedelta(seconds=2)
    """The pause after a 429 without `Retry-After`; doubled for each further one."""


@dataclass(frozen=True, slots=True)
class CircuitBreaker:
    """The record that all workers share.

    An open or probing breaker lets the next submit pass at `retry_at`.
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
        """Return when a submit may be tried again; None if it may be sent now.

        A submit that passes a breaker which is not closed is a probe.
        """
        if self.throttled_until is not None and now < self.throttled_until:
            return self.throttled_until
        if self.state is BreakerState.CLOSED or self.retry_at is None or now >= self.retry_at:
            return None
        return self.retry_at

    def start_probe(self, now: datetime, policy: BreakerPolicy) -> "CircuitBreaker":
        """Return the breaker after a probe was sent."""
        return self._next(state=BreakerState.HALF_OPEN, retry_at=now + policy.probe_timeout)

    def record_success(self) -> "CircuitBreaker":
        """Return the breaker after a usable answer. A pause after a 429 continues."""
        # The version changes only if the record does: most successes write nothing to Redis.
        closed = CircuitBreaker(version=self.version, throttled_until=self.throttled_until)
        return self if self == closed else replace(closed, version=self.version + 1)

    def record_account_refusal(
        self, detail: str, now: datetime, policy: BreakerPolicy
    ) -> "CircuitBreaker":
        """Return the breaker after RunComfy refused the account."""
        if self.state is BreakerState.OPEN and self.reason is BreakerReason.ACCOUNT_REFUSED:
            return self
        return self._open(BreakerReason.ACCOUNT_REFUSED, detail, now, policy)

    def record_failure(self, detail: str, now: datetime, policy: BreakerPolicy) -> "CircuitBreaker":
        """Return the breaker after a submit without a usable answer."""
        # Submits that were sent before the opening fail after it; they are no new evidence.
        if self.state is BreakerState.OPEN:
            return self
        failures = self.consecutive_failures + 1
        if failures < policy.failure_threshold and self.state is BreakerState.CLOSED:
            return self._next(consecutive_failures=failures)
        return self._open(BreakerReason.FAILING, detail, now, policy)

    def record_throttle(
        self, retry_after: timedelta | None, now: datetime, policy: BreakerPolicy
    ) -> "CircuitBreaker":
        """Return the breaker after a 429: all workers pause.

        Further 429s without `Retry-After` during the pause answer submits that were sent before
        it, and do not lengthen it.
        """
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
