"""A job's events as a stream (server-sent events, WHATWG HTML 9.2): history first, then live."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from core.errors import StoreUnavailable
from core.jobs.job import Job
from core.jobs.run_times import Estimate
from core.jobs.timeline import StatusChange, status_changes
from core.representations.jobs import event_to_json, past_status_to_json
from core.store.jobs import JobView
from core.webhooks.delivery import EVENT_OF_STATUS
from service.streaming.long_poll import ReadJob
from service.streaming.subscriptions import STOP_REASONS, Subscription, WakeReason

MEDIA_TYPE: Final = "text/event-stream"


HEARTBEAT: Final = b": \n\n"


RETRY: Final = b"retry: 1000\n\n"
"""After how many milliseconds a browser calls again when the connection broke."""


FROM_START: Final = -1


_MAX_DIGITS: Final = 9


EstimateFinish = Callable[[Job], Estimate | None]


def parse_last_event_id(header: str | None) -> int:
    """The number in `Last-Event-ID`; what is none of ours begins at the start."""
    known = header is not None and header.isascii() and header.isdigit()
    return int(header) if header and known and len(header) <= _MAX_DIGITS else FROM_START


def pending_events(view: JobView, last_event_number: int) -> tuple[StatusChange, ...]:
    """What a caller who has seen `after` has still to be told."""
    return tuple(
        stone for stone in status_changes(view.timeline) if stone.position > last_event_number
    )


def format_event(
    view: JobView, status_change: StatusChange, estimate_finish: EstimateFinish
) -> bytes:
    """One event. The present one carries the whole document, a past one what is known of it."""
    job, event = view.record.job, EVENT_OF_STATUS[status_change.status]
    if status_change == status_changes(view.timeline)[-1]:
        body = event_to_json(view.record, event, status_change.at, estimate_finish(job))
    else:
        body = past_status_to_json(job, status_change.status, status_change.at)
    data = b"\ndata: ".join(body.splitlines())
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (status_change.position, event.encode(), data)


@dataclass(slots=True)
class EventStreamSession:
    """One caller's way through a job's events. `seen` is the number of the last that was sent."""

    subscription: Subscription
    read: ReadJob
    estimate_finish: EstimateFinish
    heartbeat: timedelta
    last_event_number: int
    _is_read_pending: bool = False
    """A look at the record failed: it is made up for with the next heartbeat."""

    async def stream(self, first: JobView) -> AsyncIterator[bytes]:
        """Every event after `seen`, until the job's end or the process's. Raises `CallerError`.

        The record is held no longer than it takes to tell of it: thousands wait at once.
        """
        yield RETRY + self._format_pending(first)
        over = first.record.job.is_final
        del first
        while not over:
            wake = await self.subscription.wait(self.heartbeat)
            if wake in STOP_REASONS:
                return
            if wake is WakeReason.TIMEOUT:
                yield HEARTBEAT
            view = await self._read_if_changed(wake)
            if view is not None:
                over = view.record.job.is_final
                yield self._format_pending(view)
                del view

    async def _read_if_changed(self, reason: WakeReason) -> JobView | None:
        if reason is WakeReason.TIMEOUT and not self._is_read_pending:
            return None
        try:
            view = await self.read()
        except StoreUnavailable:
            self._is_read_pending = True
            return None
        self._is_read_pending = False
        return view

    def _format_pending(self, view: JobView) -> bytes:
        self.subscription.seen_version = view.record.job.version
        stones = pending_events(view, self.last_event_number)
        self.last_event_number = stones[-1].position if stones else self.last_event_number
        return b"".join(format_event(view, stone, self.estimate_finish) for stone in stones)
