"""Waiting for a job's end, and for a caller's leaving. Knows no store: it is given how to read."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final

from starlette.requests import ClientDisconnect
from starlette.types import Receive

from core.clock import Clock
from core.errors import CallerError, StoreUnavailable
from core.store.jobs import JobView
from service.streaming.subscriptions import Waiter, Wake

Read = Callable[[], Awaitable[JobView]]
_GONE: Final = "http.disconnect"


async def wait_for_end(waiter: Waiter, read: Read, span: timedelta, clock: Clock) -> JobView | None:
    """The job once it has ended, or as it stands after `span` or when the process stops.

    None: the store does not tell, or not to this key. Raises `ClientDisconnect`; the job goes on.
    """
    until = clock.monotonic() + span
    while True:
        wake = await waiter.wait(until - clock.monotonic())
        if wake is Wake.LEFT:
            raise ClientDisconnect
        view = await _readable(read)
        if wake is not Wake.CHANGED or (view is not None and view.record.job.final):
            return view


async def _readable(read: Read) -> JobView | None:
    # The job is taken in: what goes wrong with a look at it is no answer to its submit.
    try:
        return await read()
    except (StoreUnavailable, CallerError):
        return None


@asynccontextmanager
async def told_of_leaving(waiter: Waiter, receive: Receive) -> AsyncIterator[None]:
    """While the body runs, a caller who goes away ends the waits of `waiter`."""
    listening = asyncio.create_task(_listen(waiter, receive))
    try:
        yield
    finally:
        listening.cancel()


async def _listen(waiter: Waiter, receive: Receive) -> None:
    while (await receive())["type"] != _GONE:
        pass
    waiter.stop(Wake.LEFT)
