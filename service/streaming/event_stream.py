"""A job's events as a stream (server-sent events, WHATWG HTML 9.2): history first, then live."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from core.errors import StoreUnavailable
from core.jobs.job import Job
from core.jobs.run_times import Estimate
from core.jobs.timeline import Milestone, milestones
from core.representations.jobs import event_document, passed_document
from core.store.jobs import JobView
from core.webhooks.delivery import EVENT_OF_STATUS
from service.streaming.long_poll import Read
from service.streaming.subscriptions import ENDINGS, Waiter, Wake

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
