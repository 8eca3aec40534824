"""An event loop without waiting: when nothing is ready, its time jumps to the next timer."""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from typing import Any, TypeVar

from tests.support.clock import START

T = TypeVar("T")


class DeadlockDetected(Exception):
    """No task is ready, and no timer is set: the loop would wait for ever."""


class _TimeJumpSelector(selectors.SelectSelector):
    """A selector that moves the virtual time instead of waiting. No socket is ever ready."""

    def __init__(self) -> None:
        super().__init__()
        self.elapsed = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise DeadlockDetected
        self.elapsed += max(timeout, 0.0)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """The event loop of asyncio in virtual time. Deterministic: callbacks run in FIFO order."""

    def __init__(self) -> None:
        """The time is 0."""
        self._selector_clock = _TimeJumpSelector()
        super().__init__(self._selector_clock)

    def time(self) -> float:
        """Virtual seconds since the start."""
        return self._selector_clock.elapsed


class LoopClock:
    """The gateway's clock on the running loop's time."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """The date is `START` when the loop's time is 0."""
        self._loop = loop
        # Cached: read about twenty times at each instant.
        self._asked_at, self._elapsed, self._now = 0.0, timedelta(), START

    def now(self) -> datetime:
        """See `core.clock.Clock`."""
        self._loop_time()
        return self._now

    def monotonic(self) -> timedelta:
        """See `core.clock.Clock`."""
        self._loop_time()
        return self._elapsed

    def _loop_time(self) -> None:
        at = self._loop.time()
        if at != self._asked_at:
            self._asked_at, self._elapsed = at, timedelta(seconds=at)
            self._now = START + self._elapsed

    async def sleep(self, span: timedelta) -> None:
        """See `core.clock.Clock`."""
        await asyncio.sleep(span.total_seconds())


def run_virtually(
    main: Callable[[LoopClock], Coroutine[Any, Any, T]],
    on_error: Callable[[dict[str, Any]], None],
) -> T:
    """Run `main` to its end on a new loop; `on_error` is called for every task that failed."""
    loop = VirtualLoop()
    loop.set_exception_handler(lambda _, context: on_error(context))
    try:
        return loop.run_until_complete(main(LoopClock(loop)))
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.close()
