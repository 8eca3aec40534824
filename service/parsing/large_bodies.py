"""Work on large bodies: in a thread, one at a time, and no tenant's all the time.

What is done for one submit is best one call: each waits for its turn, and rests before it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import Final, ParamSpec, TypeVar
from weakref import WeakValueDictionary

from core.clock import Clock
from core.runtime.garbage_collection import without_collection
from service.parsing.body_budget import SMALL_BODY

REST_FACTOR: Final = 3
"""How many times as long as a turn took its owner has no other: a quarter of the time at most is
one tenant's. A thread holds Python's lock for up to 10 ms at a time, in which no call is served."""
_MAX_OWNERS: Final = 10_000

P = ParamSpec("P")
T = TypeVar("T")


class LargeBodies:
    """Gives turns to work on large bodies, which takes several times their size of memory."""

    def __init__(self, clock: Clock) -> None:
        """Start without work."""
        self._clock = clock
        self._one = asyncio.Semaphore(1)
        self._queues: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._rest_until: dict[str, timedelta] = {}

    async def call(
        self, owner: str, size: int, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Return what `function` returns, which works on `size` bytes: for many in a thread.

        It must be pure. `owner` is the tenant, or the address of a caller without a key.
        """
        if size <= SMALL_BODY:
            return function(*args, **kwargs)
        return await self.call_in_thread(owner, function, *args, **kwargs)

    async def call_in_thread(
        self, owner: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """As `call`, for few bytes too: a batch of them has a thousand inputs."""
        async with self._turn(owner):
            work = asyncio.ensure_future(
                asyncio.to_thread(_call_without_collection, partial(function, *args, **kwargs))
            )
            try:
                return await asyncio.shield(work)
            finally:
                # A thread cannot be stopped: the turn of a caller who has left ends with its work.
                await asyncio.wait((work,))

    @asynccontextmanager
    async def _turn(self, owner: str) -> AsyncIterator[None]:
        async with self._queues.setdefault(owner, asyncio.Lock()):
            rest = self._rest_until.get(owner, timedelta()) - self._clock.monotonic()
            if rest > timedelta():
                await self._clock.sleep(rest)
            async with self._one:
                began = self._clock.monotonic()
                try:
                    yield
                finally:
                    self._begin_rest(owner, self._clock.monotonic() - began)

    def _begin_rest(self, owner: str, worked: timedelta) -> None:
        self._rest_until.pop(owner, None)  # dicts keep their order: the oldest is the first
        if len(self._rest_until) >= _MAX_OWNERS:
            del self._rest_until[next(iter(self._rest_until))]
        self._rest_until[owner] = self._clock.monotonic() + REST_FACTOR * worked


def _call_without_collection(function: Callable[[], T]) -> T:
    """Call `function`: its many values are in no cycle, and each collection would scan them all."""
    with without_collection():
        return function()
