"""Whether a new submit could be sent: a worker runs, and RunComfy accepts the account."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from core.clock import Clock
from core.store.interfaces import CircuitBreakerRepository, HeartbeatRepository
from core.upstream.circuit_breaker import BreakerReason, CircuitBreaker
from core.upstream.circuits import ACCOUNT
from service.errors import SubmitsStopped

REFRESH_INTERVAL: Final = timedelta(seconds=5)
"""Submits read the state at most this often: it costs the hot path nothing."""
RETRY_AFTER: Final = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class SubmitOutage:
    """Since when no submit could be sent, and why."""

    since: datetime
    reason: str


def find_outage(
    last_seen: datetime | None,
    account: CircuitBreaker,
    no_worker_since: datetime,
    worker_timeout: timedelta,
    now: datetime,
) -> SubmitOutage | None:
    """Return the present outage, if there is one.

    `last_seen` None: no worker has a heartbeat, which this process knows since `no_worker_since`.
    """
    if last_seen is None or now - last_seen > worker_timeout:
        return SubmitOutage(last_seen or no_worker_since, "No worker runs.")
    if account.reason is BreakerReason.ACCOUNT_REFUSED:
        return SubmitOutage(account.opened_at or now, "RunComfy refuses the gateway's account.")
    return None


class SubmitAvailability:
    """Refuses submits that could not have been submitted for too long."""

    def __init__(
        self,
        heartbeats: HeartbeatRepository,
        breakers: CircuitBreakerRepository,
        clock: Clock,
        worker_timeout: timedelta,
        max_outage: timedelta,
    ) -> None:
        """Submits are admitted for `max_outage` after the last moment when one could be sent."""
        self._heartbeats = heartbeats
        self._breakers = breakers
        self._clock = clock
        self._worker_timeout = worker_timeout
        self._max_outage = max_outage
        self._no_worker_since: datetime | None = None
        self._outage: SubmitOutage | None = None
        self._read_at: datetime | None = None

    async def check(self) -> None:
        """Raise `SubmitsStopped` if new submits must be refused. Raises `StoreUnavailable`."""
        now = self._clock.now()
        if self._read_at is None or not timedelta() <= now - self._read_at < REFRESH_INTERVAL:
            self._read_at = now
            self._outage = await self._find_outage(now)
        if self._outage is not None and now - self._outage.since >= self._max_outage:
            raise SubmitsStopped(self._outage.reason, retry_after=RETRY_AFTER)

    async def _find_outage(self, now: datetime) -> SubmitOutage | None:
        last_seen = await self._heartbeats.last_seen()
        breakers = await self._breakers.load_all()
        if last_seen is not None:
            self._no_worker_since = None
        elif self._no_worker_since is None:
            self._no_worker_since = now
        return find_outage(
            last_seen,
            breakers.get(ACCOUNT, CircuitBreaker()),
            self._no_worker_since or now,
            self._worker_timeout,
            now,
        )
