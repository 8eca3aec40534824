"""Leases and deadlines follow Redis's clock, whatever the host's clock says."""

from datetime import timedelta
from typing import Any

import pytest

from core.clock import OffsetClock
from core.errors import StoreUnavailable
from core.store.client import Argument, RedisClient
from core.store.server_time import MAX_ROUND_TRIP, TOLERANCE, ServerTime
from tests.support.clock import FakeClock
from tests.support.records import SECOND


class ClockServer(RedisClient):
    """Answers TIME, `skew` behind the host, after `took`."""

    def __init__(self, host: FakeClock) -> None:
        """Agree with the host, and answer at once."""
        self.host, self.skew, self.took = host, timedelta(0), timedelta(0)
        self.is_away = False

    async def execute(self, *command: Argument) -> Any:  # noqa: ANN401 - as the real one
        """Answer TIME, in the middle of the round trip."""
        assert command == ("TIME",)
        if self.is_away:
            raise StoreUnavailable
        self.host.shift(self.took / 2)
        now = self.host.now() - self.skew
        self.host.shift(self.took / 2)
        return str(int(now.timestamp())).encode(), str(now.microsecond).encode()


class SkewedHost:
    """A host whose clock follows the server's, over one connection."""

    def __init__(self) -> None:
        self.host = FakeClock()
        self.clock = OffsetClock(self.host)
        self.server = ClockServer(self.host)
        self.time = ServerTime(self.server, self.clock)

    @property
    def difference(self) -> timedelta:
        return self.clock.now() - self.host.now()


@pytest.fixture
def skewed() -> SkewedHost:
    return SkewedHost()


@pytest.mark.parametrize("seconds", [-3600, -2.5, 2.5, 3600])
async def test_the_time_is_the_servers(skewed: SkewedHost, seconds: float) -> None:
    assert skewed.difference == timedelta(0)
    skewed.server.skew = seconds * SECOND
    await skewed.time.synchronize()
    assert skewed.difference == -seconds * SECOND
    assert skewed.time.skew_seconds == seconds
    skewed.server.skew = timedelta(0)
    await skewed.time.synchronize()
    assert (skewed.difference, skewed.time.skew_seconds) == (timedelta(0), 0)


async def test_the_answer_is_from_the_middle_of_the_round_trip(skewed: SkewedHost) -> None:
    skewed.server.took, skewed.server.skew = MAX_ROUND_TRIP, 5 * SECOND
    await skewed.time.synchronize()
    assert skewed.difference == -5 * SECOND


async def test_a_slow_answer_changes_nothing(skewed: SkewedHost) -> None:
    skewed.server.took, skewed.server.skew = 2 * MAX_ROUND_TRIP, 5 * SECOND
    await skewed.time.synchronize()
    assert (skewed.difference, skewed.time.skew_seconds) == (timedelta(0), 0)


async def test_jitter_does_not_move_the_clock(skewed: SkewedHost) -> None:
    skewed.server.skew = TOLERANCE
    await skewed.time.synchronize()
    assert skewed.difference == timedelta(0)
    assert skewed.time.skew_seconds == TOLERANCE.total_seconds()


async def test_without_the_server_the_last_difference_counts(skewed: SkewedHost) -> None:
    skewed.server.skew = 5 * SECOND
    await skewed.time.synchronize()
    skewed.server.is_away = True
    with pytest.raises(StoreUnavailable):
        await skewed.time.synchronize()
    assert skewed.difference == -5 * SECOND
    before = skewed.clock.monotonic()
    skewed.host.move(SECOND)
    assert skewed.clock.monotonic() - before == SECOND
