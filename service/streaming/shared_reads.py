"""Reads that many consoles share: all that read within a second get the same answer."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from datetime import timedelta
from typing import Any, Final, TypeVar

from core.clock import Clock

MAX_AGE: Final = timedelta(seconds=1)
LONGEST_AGE: Final = timedelta(seconds=5)
"""The largest `max_age` of a caller."""
MAX_ENTRIES: Final = 2_000
T = TypeVar("T")


class SharedReads:
    """Answers by key. A read in flight is shared too: a slow store gets one at a time."""

    def __init__(self, clock: Clock) -> None:
        """Start without answers."""
        self._clock = clock
        self._answers: dict[Hashable, tuple[timedelta, asyncio.Task[Any]]] = {}

    async def get(
        self, key: Hashable, read: Callable[[], Awaitable[T]], max_age: timedelta = MAX_AGE
    ) -> T:
        """Return the answer of `read`, or one for the same key that is at most `max_age` old.

        Raises what the read raised.
        """
        now = self._clock.monotonic()
        begun_at, task = self._answers.get(key, (timedelta.min, None))
        if task is None or (task.done() and now - begun_at > max_age):
            self._answers.pop(key, None)
            self._drop_old(now)
            task = asyncio.ensure_future(_awaited(read))
            self._answers[key] = now, task
        # A caller who leaves must not end the read of the others.
        answer: T = await asyncio.shield(task)
        return answer

    def _drop_old(self, now: timedelta) -> None:
        """Drop the answers that are too old for every caller, the oldest first."""
        while self._answers:
            key, (begun_at, task) = next(iter(self._answers.items()))
            is_old = task.done() and now - begun_at > LONGEST_AGE
            if not is_old and len(self._answers) < MAX_ENTRIES:
                return
            del self._answers[key]

    def __len__(self) -> int:
        """Return the number of answers that are kept."""
        return len(self._answers)


async def _awaited(read: Callable[[], Awaitable[T]]) -> T:
    return await read()
