"""The breaker over one endpoint: how many attempts may be under way, and not before when. Pure.

A channel is what fails together: an endpoint of a tenant's, or the origin of the URLs that come
with its submits. All couriers share its record; a dead receiver costs one probe at a time.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

_MOST_DOUBLINGS: Final = 16


@dataclass(frozen=True, slots=True)
class ChannelPolicy:
    """When a channel is held back, and for how long."""

    at_once: int = 32
    """Attempts of a healthy channel under way at once, over all couriers."""
    slow: timedelta = timedelta(seconds=5)
    """An answer that takes longer halves what may be under way: a few slow receivers would hold
    all of a worker's places."""
    slow_at_once: int = 4
    """Not below this, however slow."""
    failures: int = 3
    """Failures in a row that break a channel."""
    first_pause: timedelta = timedelta(seconds=5)
    longest_pause: timedelta = timedelta(minutes=5)
    longest_wait: timedelta = timedelta(hours=1)
    """The longest pause that a receiver may ask for all its deliveries (`Retry-After`)."""
    disable_after: timedelta = timedelta(days=5)
    forget_after: timedelta = timedelta(hours=36)
    """A failure this long after the last one begins a new row. Longer than any wait between two
    attempts (29 hours and jitter): an endpoint without events does not fail meanwhile."""


@dataclass(frozen=True, slots=True)
class Channel:
    """The record. `at_once` None: as the policy says. Nothing is claimed before `until`."""

    version: int = 0
    at_once: int | None = None
    until: datetime | None = None
    broken: bool = False
    failures: int = 0
    pauses: int = 0
    """Pauses in a row, without a success between them."""
    failing_since: datetime | None = None
    failed_at: datetime | None = None

    def succeeded(
        self, now: datetime, policy: ChannelPolicy, took: timedelta = timedelta()
    ) -> "Channel":
        """The receiver took something: what was narrowed widens twofold, unless it took it slowly.

        A pause that it asked for goes on.
        """
        wide = self.at_once or policy.at_once
        wide = max(wide // 2, policy.slow_at_once) if took > policy.slow else wide * 2
        at_once = None if wide >= policy.at_once else wide
        until = self.until if self._closed(now) and not self.broken else None
        calm = Channel(version=self.version, at_once=at_once, until=until)
        return self if self == calm else replace(calm, version=self.version + 1)

    def failed(self, now: datetime, policy: ChannelPolicy) -> "Channel":
        """An attempt failed. One that left before the channel was closed tells nothing new."""
        if self._closed(now):
            return self
        since = self._failing_since(now, policy)
        failures = self.failures + 1
        if not self.broken and failures < policy.failures:
            return self._next(failures=failures, failing_since=since, failed_at=now)
        return self._next(
            at_once=1,
            until=now + self._own_pause(policy),
            broken=True,
            failures=failures,
            pauses=self.pauses + 1,
            failing_since=since,
            failed_at=now,
        )

    def slowed(self, asked: timedelta | None, now: datetime, policy: ChannelPolicy) -> "Channel":
        """The receiver asked for less: a pause, then half as much at once."""
        if self._closed(now) and asked is None:
            return self
        pause = max(min(asked or timedelta(), policy.longest_wait), self._own_pause(policy))
        return self._next(
            at_once=max((self.at_once or policy.at_once) // 2, 1),
            until=max(self.until or now, now + pause),
            pauses=self.pauses + (not self._closed(now)),
            failing_since=self._failing_since(now, policy),
            failed_at=now,
        )

    def opened(self) -> "Channel":
        """A person says that the receiver may be back: one attempt may leave at once."""
        return self if self.until is None else self._next(until=None)

    def forgotten(self) -> "Channel":
        """As new: what was held back flows, and nothing is held against the endpoint any more."""
        return Channel(version=self.version + 1)

    def given_up(self, now: datetime, policy: ChannelPolicy) -> bool:
        """Whether the endpoint has failed for so long that it is to be disabled."""
        return self.failing_since is not None and now - self.failing_since >= policy.disable_after

    def _closed(self, now: datetime) -> bool:
        return self.until is not None and now < self.until

    def _own_pause(self, policy: ChannelPolicy) -> timedelta:
        factor: int = 2 ** min(self.pauses, _MOST_DOUBLINGS)
        return min(policy.first_pause * factor, policy.longest_pause)

    def _failing_since(self, now: datetime, policy: ChannelPolicy) -> datetime:
        if self.failing_since is None or self.failed_at is None:
            return now
        return now if now - self.failed_at > policy.forget_after else self.failing_since

    def _next(self, **changes: object) -> "Channel":
        return replace(self, version=self.version + 1, **changes)  # type: ignore[arg-type]  # own fields
