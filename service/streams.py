"""A job's events as a stream (server-sent events, WHATWG HTML 9.2): history first, then live."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from core.documents import EVENT_OF_STATUS, event_document, passed_document
from core.errors import CallerError, StoreUnavailable
from core.history import Estimate
from core.jobs import Job
from core.milestones import Milestone, milestones
from core.store.jobs import JobView
from service.exchange import exchange_of
from service.waiters import ENDINGS, Waiter, Wake
from service.waiting import Read, told_of_leaving

MEDIA_TYPE: Final = "text/event-stream"
HEARTBEAT: Final = b": \n\n"
RETRY: Final = b"retry: 1000\n\n"
"""After how many milliseconds a browser calls again when the connection broke."""
FROM_START: Final = -1
_MOST_DIGITS: Final = 9

Foretell = Callable[[Job], Estimate | None]


def last_seen(header: str | None) -> int:
    """The number in `Last-Event-ID`; what is none of ours begins at the start."""
    known = header is not None and header.isascii() and header.isdigit()
    return int(header) if header and known and len(header) <= _MOST_DIGITS else FROM_START


def unseen(view: JobView, after: int) -> tuple[Milestone, ...]:
    """What a caller who has seen `after` has still to be told."""
    return tuple(stone for stone in milestones(view.timeline) if stone.number > after)


def frame(view: JobView, stone: Milestone, foretell: Foretell) -> bytes:
    """One event. The present one carries the whole document, a past one what is known of it."""
    job, event = view.record.job, EVENT_OF_STATUS[stone.status]
    if stone == milestones(view.timeline)[-1]:
        body = event_document(view.record, event, stone.at, foretell(job))
    else:
        body = passed_document(job, stone.status, stone.at)
    data = b"\ndata: ".join(body.splitlines())
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (stone.number, event.encode(), data)


@dataclass(slots=True)
class Following:
    """One caller's way through a job's events. `seen` is the number of the last that was sent."""

    waiter: Waiter
    read: Read
    foretell: Foretell
    heartbeat: timedelta
    seen: int
    _owed: bool = False
    """A look at the record failed: it is made up for with the next heartbeat."""

    async def frames(self, first: JobView) -> AsyncIterator[bytes]:
        """Every event after `seen`, until the job's end or the process's. Raises `CallerError`.

        The record is held no longer than it takes to tell of it: thousands wait at once.
        """
        yield RETRY + self._news(first)
        over = first.record.job.final
        del first
        while not over:
            wake = await self.waiter.wait(self.heartbeat)
            if wake in ENDINGS:
                return
            if wake is Wake.QUIET:
                yield HEARTBEAT
            view = await self._look(wake)
            if view is not None:
                over = view.record.job.final
                yield self._news(view)
                del view

    async def _look(self, wake: Wake) -> JobView | None:
        if wake is Wake.QUIET and not self._owed:
            return None
        try:
            view = await self.read()
        except StoreUnavailable:
            self._owed = True
            return None
        self._owed = False
        return view

    def _news(self, view: JobView) -> bytes:
        self.waiter.seen = view.record.job.version
        stones = unseen(view, self.seen)
        self.seen = stones[-1].number if stones else self.seen
        return b"".join(frame(view, stone, self.foretell) for stone in stones)


class EventStream(Response):
    """Sends what `following` finds. Whoever does not take it within `patience` is dropped."""

    def __init__(self, following: Following, first: JobView, patience: timedelta) -> None:
        """Begin with the view `first`, read after the place was taken."""
        self.status_code = 200
        self.media_type = MEDIA_TYPE
        self.background = None
        self.init_headers({"x-accel-buffering": "no"})
        self._following = following
        self._first: JobView | None = first
        self._patience = patience.total_seconds()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the end; the place is given up whatever happens."""
        first, self._first = self._first, None
        with self._following.waiter as waiter:
            try:
                async with told_of_leaving(waiter, receive):
                    if first is not None:
                        await self._put(send, first)
            finally:
                exchange_of(scope).waited = waiter.waited

    async def _put(self, send: Send, first: JobView) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(start)
        try:
            async for piece in self._following.frames(first):
                async with asyncio.timeout(self._patience):
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
        except TimeoutError as error:
            raise ClientDisconnect from error
        except CallerError:
            pass  # the key was revoked, or the record is gone: there is nothing more to tell
        await send({"type": "http.response.body", "body": b"", "more_body": False})
