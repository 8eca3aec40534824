"""Time as an argument, and its formats. The only module that reads the system clock or sleeps."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

MILLISECOND: Final = timedelta(milliseconds=1)


class Clock(Protocol):
    """The source of time."""

    def now(self) -> datetime:
        """Return the current time, timezone-aware, in UTC."""
        ...

    def monotonic(self) -> timedelta:
        """Return the time since an arbitrary start; it never goes back."""
        ...

    async def sleep(self, span: timedelta) -> None:
        """Wait for `span`."""
        ...


class SystemClock:
    """The system clock."""

    def now(self) -> datetime:
        """Return the wall-clock time, timezone-aware, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> timedelta:
        """Return the reading of the monotonic clock."""
        return timedelta(seconds=time.monotonic())

    async def sleep(self, span: timedelta) -> None:
        """Sleep in the running event loop."""
        await asyncio.sleep(span.total_seconds())


class OffsetClock:
    """The time of another machine, as the host's clock and the measured difference."""

    def __init__(self, host: Clock, offset: timedelta = timedelta(0)) -> None:
        """`offset` is added to the host's time until another one is measured."""
        self.host: Final = host
        self.offset = offset
        # Not a matter of the other machine.
        self.monotonic: Final = host.monotonic
        self.sleep: Final = host.sleep

    def now(self) -> datetime:
        """Return the other machine's time."""
        return self.host.now() + self.offset


def to_ms(instant: datetime) -> int:
    """Return the milliseconds since the epoch: the form of instants in Redis scores."""
    return round(instant.timestamp() * 1000)


def from_ms(milliseconds: int) -> datetime:
    """Return the instant of a value made by `to_ms`."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def iso(instant: datetime | None) -> str | None:
    """Return an instant in ISO 8601 with `Z` for UTC, as callers and operators read it."""
    return None if instant is None else instant.isoformat().replace("+00:00", "Z")
