"""Time as an argument: the shape that the simulator asks for, and the machine's own clock."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """What the simulator needs to know of time."""

    def now(self) -> datetime:
        """An aware instant in UTC."""
        ...

    async def sleep(self, span: timedelta) -> None:
        """Return when the span has passed."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """The present, in UTC."""
        return datetime.now(UTC)

    async def sleep(self, span: timedelta) -> None:
        """Give way to other tasks for the span."""
        await asyncio.sleep(span.total_seconds())
