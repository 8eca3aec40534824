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
    PROBING = "probing"
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

    failures: int = 5
    """Submits in a row without a usable answer that open the breaker."""
    first_pause: timedelta = timedelta(seconds=15)
    longest_pause: timedelta = timedelta(minutes=5)
    probe: timedelta = timedelta(seconds=45)
    """How long a probe may take before another is let through."""
    probe_news: timedelta = timedelta(seconds=2)
    """When those who wait for a probe ask how it went: it rarely takes all its time."""
    throttle: timedelta = timedelta(seconds=2)
    """The pause after a 429 that named none; doubled for each further one."""


@dataclass(frozen=True, slots=True)
class Breaker:
    """The record that all workers share.

    `until` is when an open or probing breaker is asked again.
    """

    version: int = 0
    state: BreakerState = BreakerState.CLOSED
    reason: BreakerReason | None = None
    detail: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    failures: int = 0
    openings: int = 0
    """Openings in a row, without a success between them."""
    throttles: int = 0
    throttled_until: datetime | None = None

    def closed_until(self, now: datetime) -> datetime | None:
        """None: a submit may leave (as a probe, if it is not closed); else when to ask again."""
        if self.throttled_until is not None and now < self.throttled_until:
            return self.throttled_until
        if self.state is BreakerState.CLOSED or self.until is None or now >= self.until:
            return None
        return self.until

    def probing(self, now: datetime, policy: BreakerPolicy) -> "Breaker":
        """One submit is on its way to find out."""
        return self._next(state=BreakerState.PROBING, until=now + policy.probe)

    def succeeded(self) -> "Breaker":
        """A submit got a usable answer. A pause that RunComfy asked for by 429 goes on."""
        calm = Breaker(version=self.version, throttled_until=self.throttled_until)
        return self if self == calm else replace(calm, version=self.version + 1)

    def refused(self, detail: str, now: datetime, policy: BreakerPolicy) -> "Breaker":
        """RunComfy refused the account."""
        if self.state is BreakerState.OPEN and self.reason is BreakerReason.ACCOUNT_REFUSED:
            return self
        return self._open(BreakerReason.ACCOUNT_REFUSED, detail, now, policy)

    def failed(self, detail: str, now: datetime, policy: BreakerPolicy) -> "Breaker":
        """A submit got no usable answer. One that left before the opening tells nothing new."""
        if self.state is BreakerState.OPEN:
            return self
        failures = self.failures + 1
        if failures < policy.failures and self.state is BreakerState.CLOSED:
            return self._next(failures=failures)
        return self._open(BreakerReason.FAILING, detail, now, policy)

    def throttled(
        self, retry_after: timedelta | None, now: datetime, policy: BreakerPolicy
    ) -> "Breaker":
        """RunComfy said 429: all workers wait. Several that left together count as one."""
        pausing_until = self.throttled_until if self.throttled_until is not None else now
        if retry_after is None and now < pausing_until:
            return self
        own = min(policy.throttle * 2 ** min(self.throttles, 16), policy.longest_pause)
        pause = own if retry_after is None else retry_after
        until = max(pausing_until, now + pause)
        return self._next(throttles=self.throttles + 1, throttled_until=until)

    def _open(
        self, reason: BreakerReason, detail: str, now: datetime, policy: BreakerPolicy
    ) -> "Breaker":
        pause = min(policy.first_pause * 2 ** min(self.openings, 16), policy.longest_pause)
        return self._next(
            state=BreakerState.OPEN,
            reason=reason,
            detail=detail,
            since=now if self.state is BreakerState.CLOSED else self.since,
            until=now + pause,
            failures=0,
            openings=self.openings + 1,
        )

    def _next(self, **changes: object) -> "Breaker":
        return replace(self, version=self.version + 1, **changes)  # type: ignore[arg-type]  # own fields
