"""Long poll: waits for a change of a job, or until the caller disconnects. Knows no store."""

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


def has_ended(view: JobView) -> bool:
    """Return whether the job is final."""
    return view.record.job.is_final


async def wait_until(
    is_reached: Callable[[JobView], bool],
    subscription: Subscription,
    read: ReadJob,
    max_wait: timedelta,
    clock: Clock,
) -> JobView | None:
    """Return the job once `is_reached`, or as it is after `max_wait` or when the process stops.

    None: it cannot be read, or this key may not. Raises `ClientDisconnect`; the job goes on.
    """
    until = clock.monotonic() + max_wait
    while True:
        wake = await subscription.wait(until - clock.monotonic())
        if wake is WakeReason.DISCONNECTED:
            raise ClientDisconnect
        view = await _try_read(read)
        if wake is not WakeReason.CHANGED or (view is not None and is_reached(view)):
            return view


async def _try_read(read: ReadJob) -> JobView | None:
    # The job was admitted: an error of this read must not become the answer to its submit.
    try:
        return await read()
    except (StoreUnavailable, CallerError):
        return None


@asynccontextmanager
async def watch_disconnect(subscription: Subscription, receive: Receive) -> AsyncIterator[None]:
    """End the waits of `subscription` if the caller disconnects while the body runs."""
    watcher = asyncio.create_task(_wait_for_disconnect(subscription, receive))
    try:
        yield
    finally:
        watcher.cancel()


async def _wait_for_disconnect(subscription: Subscription, receive: Receive) -> None:
    while (await receive())["type"] != _DISCONNECT:
        pass
    subscription.stop(WakeReason.DISCONNECTED)
