"""Time as an argument, and how it is written. Alone reads the machine's clocks and sleeps."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

MILLISECOND: Final = timedelta(milliseconds=1)


class Clock(Protocol):
    """What the gateway asks of time."""

    def now(self) -> datetime:
        """The present instant, aware, in UTC."""
        ...

    def monotonic(self) -> timedelta:
        """Time since an arbitrary start; never steps back."""
        ...

    async def sleep(self, span: timedelta) -> None:
        """Wait for `span`."""
        ...


class SystemClock:
    """The machine's own time."""

    def now(self) -> datetime:
        """The wall clock, aware, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> timedelta:
        """The monotonic clock."""
        return timedelta(seconds=time.monotonic())

    async def sleep(self, span: timedelta) -> None:
        """Sleep in the running event loop."""
        await asyncio.sleep(span.total_seconds())


def to_ms(instant: datetime) -> int:
    """Milliseconds since the epoch, the form in which Redis scores hold instants."""
    return round(instant.timestamp() * 1000)


def from_ms(milliseconds: int) -> datetime:
    """The instant that `to_ms` wrote."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def iso(instant: datetime | None) -> str | None:
    """An instant as callers and operators read it: ISO 8601, UTC written as `Z`."""
    return None if instant is None else instant.isoformat().replace("+00:00", "Z")
