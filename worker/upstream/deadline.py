"""The deadline of a call whose answer must not be thrown away unread."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final

LATE: Final = timedelta(seconds=1)
"""A timer that is this late belongs to a process that was frozen, or had no CPU."""
GRACE: Final = timedelta(seconds=5)
"""How long such a process may then read what has arrived meanwhile."""


@asynccontextmanager
async def patient_deadline(span: timedelta) -> AsyncIterator[None]:
    """End the body after `span` with `TimeoutError`, but not before arrived data could be read.

    When a frozen process goes on, its timers end before its sockets are read: the answer to a paid
    submit may have been there for long. So a deadline that is noticed late gets `GRACE`, once.
    """
    loop = asyncio.get_running_loop()
    due = loop.time() + span.total_seconds()
    async with asyncio.timeout(None) as scope:

        def end() -> None:
            is_late = loop.time() - due >= LATE.total_seconds()
            scope.reschedule(loop.time() + (GRACE.total_seconds() if is_late else 0))

        timer = loop.call_at(due, end)
        try:
            yield
        finally:
            timer.cancel()
