"""A job's timeline, and the status changes in it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from core.jobs.job import PUBLIC_STATUS, JobState, PublicStatus


class TimelineKind(StrEnum):
    """The subject of a timeline entry."""

    ADMISSION = "admitted"
    TRANSITION = "moved"
    UPSTREAM = "upstream"
    DELIVERY = "delivery"
    OPERATOR = "operator"
    CALLER = "caller"


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """One entry of a job's timeline.

    `code` is a stable word: a trigger, the answer of a call, an outcome.
    """

    at: datetime
    kind: TimelineKind
    code: str
    state: JobState
    detail: str | None = None
    http_status: int | None = None
    count: int | None = None
    status: PublicStatus | None = None
    """The status that callers saw from then on; None: the status of `state`."""


@dataclass(frozen=True, slots=True)
class StatusChange:
    """A change of a job's public status. `position` is that of its timeline entry, from 0.

    Timelines only grow, so a position never changes: event streams use it as their event id.
    """

    position: int
    at: datetime
    status: PublicStatus


def status_changes(timeline: Sequence[TimelineEntry]) -> tuple[StatusChange, ...]:
    """Return every change of the public status, oldest first."""
    # Delivery entries are skipped: an attempt is recorded later than the change that it reports.
    found: list[StatusChange] = []
    for number, entry in enumerate(timeline):
        status = entry.status or PUBLIC_STATUS[entry.state]
        if entry.kind is TimelineKind.DELIVERY or (found and found[-1].status is status):
            continue
        found.append(StatusChange(number, entry.at, status))
    return tuple(found)
