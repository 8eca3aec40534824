"""Time in the hands of a test. Nothing here waits, and nothing here reads a real clock."""

import asyncio
import heapq
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Final

START: Final = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


_MAX_ITERATIONS: Final = 25
"""Turns of the event loop that a woken sleeper is given; every step of ours needs fewer."""


async def run_ready_tasks(turns: int = _MAX_ITERATIONS) -> None:
    """Let whatever is ready run, as far as it gets without time passing."""
    for _ in range(turns):
        await asyncio.sleep(0)


class FakeClock:
    """Stands still until it is moved; those who sleep on it wake in order of time."""

    def __init__(self, start: datetime = START) -> None:
        """It is `start`."""
        self._start = start
        self._now = start
        self._sleepers: list[tuple[datetime, int, asyncio.Future[None]]] = []
        self._numbers = count()

    def now(self) -> datetime:
        """See `core.clock.Clock`."""
        return self._now

    def monotonic(self) -> timedelta:
        """See `core.clock.Clock`."""
        return self._now - self._start

    async def sleep(self, span: timedelta) -> None:
        """Wait until the clock has been moved on by `span`."""
        if span <= timedelta():
            await asyncio.sleep(0)
            return
        woken = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now + span, next(self._numbers), woken))
        await woken

    @property
    def sleepers(self) -> int:
        """How many sleep now."""
        return sum(not woken.done() for _, _, woken in self._sleepers)

    @property
    def next_wake(self) -> datetime | None:
        """When the next of them wakes."""
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)
        return self._sleepers[0][0] if self._sleepers else None

    def move(self, span: timedelta) -> None:
        """Move the time, and wake whom that wakes; they run when the caller next waits."""
        self._move_to(self._now + span)

    async def advance(self, span: timedelta) -> None:
        """Move the time step by step: whoever wakes runs at its own instant, and may sleep anew."""
        end = self._now + span
        await run_ready_tasks()
        while (wake := self.next_wake) is not None and wake <= end:
            self._move_to(wake)
            await run_ready_tasks()
        self._move_to(end)
        await run_ready_tasks()

    def _move_to(self, instant: datetime) -> None:
        self._now = max(self._now, instant)
        while (wake := self.next_wake) is not None and wake <= self._now:
            heapq.heappop(self._sleepers)[2].set_result(None)


class AdjustableClock(FakeClock):
    """A fake clock that can also be put back, as a machine's may be."""

    def shift(self, span: timedelta) -> None:
        """Be `span` later, or earlier."""
        self._now += span

    def set(self, instant: datetime) -> None:
        """Be at `instant`."""
        self._now = instant


class SelfAdvancingClock:
    """Stands still until it is moved; sleepers move it."""

    def __init__(self) -> None:
        self.instant = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

    def now(self) -> datetime:
        return self.instant

    async def sleep(self, span: timedelta) -> None:
        self.instant += span

    def advance(self, seconds: float) -> None:
        self.instant += timedelta(seconds=seconds)
