"""The simulator's clock as an argument, and the system clock."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Protocol


class SimulatorClock(Protocol):
    """Time as the simulator uses it."""

    def now(self) -> datetime:
        """Return the current time, aware, in UTC."""
        ...

    async def sleep(self, duration: timedelta) -> None:
        """Return after the duration."""
        ...


class WallClock:
    """The system clock."""

    def now(self) -> datetime:
        """Return the current time in UTC."""
        return datetime.now(UTC)

    async def sleep(self, duration: timedelta) -> None:
        """Return after the duration."""
        await asyncio.sleep(duration.total_seconds())
