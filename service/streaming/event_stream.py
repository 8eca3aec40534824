"""A job's events as server-sent events (WHATWG HTML 9.2): past events first, then live ones."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from core.errors import StoreUnavailable
from core.jobs.job import Job
from core.jobs.run_times import Estimate
from core.jobs.timeline import StatusChange, status_changes
from core.representations.jobs import OutputLinks, event_to_json, past_status_to_json
from core.store.jobs import JobView
from core.webhooks.delivery import EVENT_OF_STATUS
from service.streaming.long_poll import ReadJob
from service.streaming.subscriptions import STOP_REASONS, Subscription, WakeReason

MEDIA_TYPE: Final = "text/event-stream"


HEARTBEAT: Final = b": \n\n"
"""A comment: proxies keep the connection open, and clients ignore it."""


RETRY: Final = b"retry: 1000\n\n"
"""Makes browsers reconnect after this many milliseconds."""


FROM_START: Final = -1
"""Smaller than every event number: all events are sent."""


_MAX_DIGITS: Final = 9


EstimateFinish = Callable[[Job], Estimate | None]


def parse_last_event_id(header: str | None) -> int:
    """Return the number in `Last-Event-ID`; `FROM_START` for an unknown id."""
    is_number = header is not None and header.isascii() and header.isdigit()
    return int(header) if header and is_number and len(header) <= _MAX_DIGITS else FROM_START


def pending_events(view: JobView, last_event_number: int) -> tuple[StatusChange, ...]:
    """Return the events after `last_event_number`."""
    return tuple(
        change for change in status_changes(view.timeline) if change.position > last_event_number
    )


def format_event(
    view: JobView,
    status_change: StatusChange,
    estimate_finish: EstimateFinish,
    outputs: OutputLinks | None = None,
) -> bytes:
    """Return one event: the latest with the full document, a past one with what was true then."""
    job, event = view.record.job, EVENT_OF_STATUS[status_change.status]
    if status_change == status_changes(view.timeline)[-1]:
        body = event_to_json(view.record, event, status_change.at, estimate_finish(job), outputs)
    else:
        body = past_status_to_json(job, status_change.status, status_change.at)
    data = b"\ndata: ".join(body.splitlines())
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (status_change.position, event.encode(), data)


@dataclass(slots=True)
class EventStreamSession:
    """One caller's stream. `last_event_number` is that of the last event that was sent."""

    subscription: Subscription
    read: ReadJob
    estimate_finish: EstimateFinish
    heartbeat: timedelta
    last_event_number: int
    output_links: Callable[[], OutputLinks] | None = None
    """Builds the links of an event that is sent now."""
    _is_read_pending: bool = False
    """The last read failed: it is repeated with the next heartbeat."""

    async def stream(self, first: JobView) -> AsyncIterator[bytes]:
        """Yield every event until the job ends or the process stops. Raises `CallerError`.

        The record is released before each wait: thousands of streams can be open, and an output
        may be large.
        """
        yield RETRY + self._format_pending(first)
        is_final = first.record.job.is_final
        del first
        while not is_final:
            wake = await self.subscription.wait(self.heartbeat)
            if wake in STOP_REASONS:
                return
            if wake is WakeReason.TIMEOUT:
                yield HEARTBEAT
            view = await self._read_if_changed(wake)
            if view is not None:
                is_final = view.record.job.is_final
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
        events = pending_events(view, self.last_event_number)
        self.last_event_number = events[-1].position if events else self.last_event_number
        links = None if self.output_links is None else self.output_links()
        return b"".join(format_event(view, event, self.estimate_finish, links) for event in events)
