"""Time as an argument: the shape that the simulator asks for, and the machine's own clock."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Protocol


class SimulatorClock(Protocol):
    """What the simulator needs to know of time."""

    def now(self) -> datetime:
        """An aware instant in UTC."""
        ...

    async def sleep(self, duration: timedelta) -> None:
        """Return when the span has passed."""
        ...


class WallClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """The present, in UTC."""
        return datetime.now(UTC)

    async def sleep(self, duration: timedelta) -> None:
        """Give way to other tasks for the span."""
        await asyncio.sleep(duration.total_seconds())
