"""Clocks that only a test moves. Nothing here waits, and nothing here reads a real clock."""

import asyncio
import heapq
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Final

START: Final = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)

_MAX_ITERATIONS: Final = 25
"""Iterations of the event loop that woken tasks get; every step of the gateway needs fewer."""


async def run_ready_tasks(iterations: int = _MAX_ITERATIONS) -> None:
    """Run all tasks that are ready until they wait for time or for I/O."""
    for _ in range(iterations):
        await asyncio.sleep(0)


class FakeClock:
    """Stands still until a test moves it; sleepers wake in the order of their deadlines."""

    def __init__(self, start: datetime = START) -> None:
        self._start = start
        self._now = start
        self._sleepers: list[tuple[datetime, int, asyncio.Future[None]]] = []
        self._numbers = count()

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> timedelta:
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
        """The number of tasks that sleep now."""
        return sum(not woken.done() for _, _, woken in self._sleepers)

    @property
    def next_wake(self) -> datetime | None:
        """The earliest deadline of a sleeper; None: nothing sleeps."""
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)
        return self._sleepers[0][0] if self._sleepers else None

    def move(self, span: timedelta) -> None:
        """Move the time and wake the sleepers that are due; they run at the test's next await."""
        self._move_to(self._now + span)

    async def advance(self, span: timedelta) -> None:
        """Move the time from deadline to deadline: each sleeper runs at its own instant.

        It may sleep again within `span`.
        """
        end = self._now + span
        await run_ready_tasks()
        while (wake := self.next_wake) is not None and wake <= end:
            self._move_to(wake)
            await run_ready_tasks()
        self._move_to(end)
        await run_ready_tasks()

    def shift(self, span: timedelta) -> None:
        """Add `span`, which may be negative, without waking sleepers."""
        self._now += span

    def set(self, instant: datetime) -> None:
        """Set the time, earlier or later, without waking sleepers."""
        self._now = instant

    def _move_to(self, instant: datetime) -> None:
        self._now = max(self._now, instant)
        while (wake := self.next_wake) is not None and wake <= self._now:
            heapq.heappop(self._sleepers)[2].set_result(None)


class TickingClock:
    """The date stands still; each read of the monotonic clock is one `step` later than the last."""

    def __init__(self, start: datetime = START, step: timedelta = timedelta(seconds=1)) -> None:
        self._now, self._step = start, step
        self.reads = 0

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> timedelta:
        self.reads += 1
        return self._step * self.reads

    async def sleep(self, span: timedelta) -> None:
        """Fail: what reads this clock measures a call, and never waits."""
        raise AssertionError(f"slept {span}")


class SelfAdvancingClock:
    """Sleepers move the time themselves and never wait. For the simulator, which has one `now`."""

    def __init__(self, start: datetime = START) -> None:
        self._now = start

    def now(self) -> datetime:
        return self._now

    async def sleep(self, span: timedelta) -> None:
        self._now += span

    def advance(self, seconds: float) -> None:
        """Move the time."""
        self._now += timedelta(seconds=seconds)
