"""Follows the clock of Redis, so that hosts whose clocks differ agree on leases and deadlines."""

from datetime import UTC, datetime, timedelta
from typing import Final

from core.clock import Clock, OffsetClock
from core.store.client import RedisClient

SYNC_INTERVAL: Final = timedelta(seconds=2)
MAX_ROUND_TRIP: Final = timedelta(milliseconds=500)
"""A longer round trip leaves the difference too uncertain."""
TOLERANCE: Final = timedelta(milliseconds=50)
"""A smaller difference is kept: a clock that follows each jitter goes back and forth."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class ServerTime:
    """Measures how far Redis's clock is ahead of this host's, and moves `clock` by that."""

    def __init__(self, client: RedisClient, clock: OffsetClock) -> None:
        """Nothing is measured yet: until then the host's own time counts."""
        self._client = client
        self._clock = clock
        self._skew = timedelta(0)

    @property
    def skew_seconds(self) -> float:
        """How far this host's clock was ahead of Redis's when it was measured last."""
        return self._skew.total_seconds()

    async def synchronize(self) -> None:
        """Measure once. Raises `StoreUnavailable`."""
        offset, took = await measure_offset(self._client, self._clock.host)
        if took > MAX_ROUND_TRIP:
            return
        self._skew = -offset
        if abs(offset - self._clock.offset) > took / 2 + TOLERANCE:
            self._clock.offset = offset


async def measure_offset(client: RedisClient, host: Clock) -> tuple[timedelta, timedelta]:
    """Return how far Redis's clock is ahead of `host`, and the round trip.

    Raises `StoreUnavailable`.
    """
    sent_at, started = host.now(), host.monotonic()
    seconds, microseconds = await client.execute("TIME")
    took = host.monotonic() - started
    server = _EPOCH + timedelta(seconds=int(seconds), microseconds=int(microseconds))
    return server - (sent_at + took / 2), took
