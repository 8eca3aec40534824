"""The circuit breaker of one delivery queue: how many concurrent attempts, and from when. Pure.

A queue holds what fails together: the deliveries to one endpoint of a tenant, or to one origin of
the URLs that came with its submits. All workers share the record; a dead receiver costs one probe
at a time.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from core.retention import FAILURE_RESET_AFTER

# Far above any `max_pause`; without a limit the exponent would grow with every pause.
_MAX_DOUBLINGS: Final = 16


@dataclass(frozen=True, slots=True)
class EndpointCircuitPolicy:
    """When a queue is paused or slowed down, and for how long."""

    max_concurrency: int = 32
    """Concurrent attempts for a healthy queue, over all workers."""
    slow_threshold: timedelta = timedelta(seconds=5)
    """An answer that takes longer halves the concurrency: otherwise a few slow receivers would
    occupy the whole capacity of a worker."""
    min_concurrency: int = 4
    """The lower limit for slow receivers."""
    failure_threshold: int = 3
    """Failures in a row that open the circuit."""
    initial_pause: timedelta = timedelta(seconds=5)
    max_pause: timedelta = timedelta(minutes=5)
    max_retry_after: timedelta = timedelta(hours=1)
    """The longest `Retry-After` that pauses a whole queue."""
    disable_after: timedelta = timedelta(days=5)
    failure_reset_after: timedelta = FAILURE_RESET_AFTER


@dataclass(frozen=True, slots=True)
class EndpointCircuit:
    """The record. `max_concurrency` None: that of the policy.

    Before `paused_until` no delivery of the queue is claimed.
    """

    version: int = 0
    max_concurrency: int | None = None
    paused_until: datetime | None = None
    is_open: bool = False
    consecutive_failures: int = 0
    consecutive_pauses: int = 0
    """Pauses in a row, without a success between them."""
    failing_since: datetime | None = None
    last_failure_at: datetime | None = None
    last_failure: str | None = None
    """The outcome of the last attempt that failed, since the last success."""

    def record_success(
        self, now: datetime, policy: EndpointCircuitPolicy, duration: timedelta = timedelta()
    ) -> "EndpointCircuit":
        """Return the circuit after a success: the concurrency doubles, or halves if it was slow.

        A pause that the receiver requested continues.
        """
        limit = self.max_concurrency or policy.max_concurrency
        if duration > policy.slow_threshold:
            limit = max(limit // 2, policy.min_concurrency)
        else:
            limit *= 2
        # None is the policy's limit: a healthy circuit stays equal to itself, and is not rewritten.
        concurrency = None if limit >= policy.max_concurrency else limit
        until = self.paused_until if self._is_paused(now) and not self.is_open else None
        closed = EndpointCircuit(
            version=self.version, max_concurrency=concurrency, paused_until=until
        )
        return self if self == closed else replace(closed, version=self.version + 1)

    def record_failure(self, now: datetime, policy: EndpointCircuitPolicy) -> "EndpointCircuit":
        """Return the circuit after a failed attempt."""
        # Attempts that were sent before the pause fail during it; they are no new evidence.
        if self._is_paused(now):
            return self
        since = self._failing_since(now, policy)
        failures = self.consecutive_failures + 1
        if not self.is_open and failures < policy.failure_threshold:
            return self._next(
                consecutive_failures=failures, failing_since=since, last_failure_at=now
            )
        return self._next(
            max_concurrency=1,
            paused_until=now + self._next_pause(policy),
            is_open=True,
            consecutive_failures=failures,
            consecutive_pauses=self.consecutive_pauses + 1,
            failing_since=since,
            last_failure_at=now,
        )

    def record_throttle(
        self, retry_after: timedelta | None, now: datetime, policy: EndpointCircuitPolicy
    ) -> "EndpointCircuit":
        """Return the circuit after a 429 or 503: a pause, then half the concurrency."""
        if self._is_paused(now) and retry_after is None:
            return self
        pause = max(
            min(retry_after or timedelta(), policy.max_retry_after), self._next_pause(policy)
        )
        return self._next(
            max_concurrency=max((self.max_concurrency or policy.max_concurrency) // 2, 1),
            paused_until=max(self.paused_until or now, now + pause),
            consecutive_pauses=self.consecutive_pauses + (not self._is_paused(now)),
            failing_since=self._failing_since(now, policy),
            last_failure_at=now,
        )

    def at(self, now: datetime) -> "EndpointCircuit":
        """Return the circuit without a pause that is over."""
        return self if self._is_paused(now) else replace(self, paused_until=None)

    def reset_pause(self) -> "EndpointCircuit":
        """Return the circuit without its pause: the next attempt may be made immediately."""
        return self if self.paused_until is None else self._next(paused_until=None)

    def reset(self) -> "EndpointCircuit":
        """Return a closed circuit without a history of failures."""
        if self == EndpointCircuit(version=self.version):
            return self
        return EndpointCircuit(version=self.version + 1)

    def is_exhausted(self, now: datetime, policy: EndpointCircuitPolicy) -> bool:
        """Return whether the endpoint has failed for so long that it must be disabled."""
        return self.failing_since is not None and now - self.failing_since >= policy.disable_after

    def _is_paused(self, now: datetime) -> bool:
        return self.paused_until is not None and now < self.paused_until

    def _next_pause(self, policy: EndpointCircuitPolicy) -> timedelta:
        factor: int = 2 ** min(self.consecutive_pauses, _MAX_DOUBLINGS)
        return min(policy.initial_pause * factor, policy.max_pause)

    def _failing_since(self, now: datetime, policy: EndpointCircuitPolicy) -> datetime:
        if self.failing_since is None or self.last_failure_at is None:
            return now
        return (
            now if now - self.last_failure_at > policy.failure_reset_after else self.failing_since
        )

    def _next(self, **changes: object) -> "EndpointCircuit":
        return replace(self, version=self.version + 1, **changes)  # type: ignore[arg-type]  # own fields
