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
from service.streaming.subscriptions import Subscription, WakeReason

ReadJob = Callable[[], Awaitable[JobView]]
_DISCONNECT: Final = "http.disconnect"


async def wait_for_end(
    subscription: Subscription, read: ReadJob, max_wait: timedelta, clock: Clock
) -> JobView | None:
    """The job once it has ended, or as it stands after `span` or when the process stops.

    None: the store does not tell, or not to this key. Raises `ClientDisconnect`; the job goes on.
    """
    until = clock.monotonic() + max_wait
    while True:
        wake = await subscription.wait(until - clock.monotonic())
        if wake is WakeReason.DISCONNECTED:
            raise ClientDisconnect
        view = await _try_read(read)
        if wake is not WakeReason.CHANGED or (view is not None and view.record.job.is_final):
            return view


async def _try_read(read: ReadJob) -> JobView | None:
    # The job is taken in: what goes wrong with a look at it is no answer to its submit.
    try:
        return await read()
    except (StoreUnavailable, CallerError):
        return None


@asynccontextmanager
async def watch_disconnect(subscription: Subscription, receive: Receive) -> AsyncIterator[None]:
    """While the body runs, a caller who goes away ends the waits of `waiter`."""
    listening = asyncio.create_task(_wait_for_disconnect(subscription, receive))
    try:
        yield
    finally:
        listening.cancel()


async def _wait_for_disconnect(subscription: Subscription, receive: Receive) -> None:
    while (await receive())["type"] != _DISCONNECT:
        pass
    subscription.stop(WakeReason.DISCONNECTED)
