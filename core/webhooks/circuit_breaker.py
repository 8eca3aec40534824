"""The breaker over one endpoint: how many attempts may be under way, and not before when. Pure.

A channel is what fails together: an endpoint of a tenant's, or the origin of the URLs that come
with its submits. All couriers share its record; a dead receiver costs one probe at a time.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from core.retention import FAILURE_RESET_AFTER

_MAX_DOUBLINGS: Final = 16


@dataclass(frozen=True, slots=True)
class EndpointCircuitPolicy:
    """When a channel is held back, and for how long."""

    max_concurrency: int = 32
    """Attempts of a healthy channel under way at once, over all couriers."""
    slow_threshold: timedelta = timedelta(seconds=5)
    """An answer that takes longer halves what may be under way: a few slow receivers would hold
    all of a worker's places."""
    min_concurrency: int = 4
    """Not below this, however slow."""
    failure_threshold: int = 3
    """Failures in a row that break a channel."""
    initial_pause: timedelta = timedelta(seconds=5)
    max_pause: timedelta = timedelta(minutes=5)
    max_retry_after: timedelta = timedelta(hours=1)
    """The longest pause that a receiver may ask for all its deliveries (`Retry-After`)."""
    disable_after: timedelta = timedelta(days=5)
    failure_reset_after: timedelta = FAILURE_RESET_AFTER


@dataclass(frozen=True, slots=True)
class EndpointCircuit:
    """The record. `at_once` None: as the policy says. Nothing is claimed before `until`."""

    version: int = 0
    max_concurrency: int | None = None
    paused_until: datetime | None = None
    is_open: bool = False
    consecutive_failures: int = 0
    consecutive_pauses: int = 0
    """Pauses in a row, without a success between them."""
    failing_since: datetime | None = None
    last_failure_at: datetime | None = None

    def record_success(
        self, now: datetime, policy: EndpointCircuitPolicy, duration: timedelta = timedelta()
    ) -> "EndpointCircuit":
        """The receiver took something: what was narrowed widens twofold, unless it took it slowly.

        A pause that it asked for goes on.
        """
        wide = self.max_concurrency or policy.max_concurrency
        wide = (
            max(wide // 2, policy.min_concurrency) if duration > policy.slow_threshold else wide * 2
        )
        at_once = None if wide >= policy.max_concurrency else wide
        until = self.paused_until if self._is_paused(now) and not self.is_open else None
        calm = EndpointCircuit(version=self.version, max_concurrency=at_once, paused_until=until)
        return self if self == calm else replace(calm, version=self.version + 1)

    def record_failure(self, now: datetime, policy: EndpointCircuitPolicy) -> "EndpointCircuit":
        """An attempt failed. One that left before the channel was closed tells nothing new."""
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
        """The receiver asked for less: a pause, then half as much at once."""
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

    def reset_pause(self) -> "EndpointCircuit":
        """A person says that the receiver may be back: one attempt may leave at once."""
        return self if self.paused_until is None else self._next(paused_until=None)

    def reset(self) -> "EndpointCircuit":
        """As new: what was held back flows, and nothing is held against the endpoint any more."""
        return EndpointCircuit(version=self.version + 1)

    def is_exhausted(self, now: datetime, policy: EndpointCircuitPolicy) -> bool:
        """Whether the endpoint has failed for so long that it is to be disabled."""
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
