"""A job's timeline, and the status changes found in it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from core.jobs.job import PUBLIC_STATUS, JobState, PublicStatus


class TimelineKind(StrEnum):
    """What an entry of a job's timeline tells of."""

    ADMISSION = "admitted"
    TRANSITION = "moved"
    UPSTREAM = "upstream"
    DELIVERY = "delivery"
    OPERATOR = "operator"
    CALLER = "caller"


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """One line of a job's history.

    `what` is a stable word (a fact, a call's answer, an outcome).
    """

    at: datetime
    kind: TimelineKind
    code: str
    state: JobState
    detail: str | None = None
    http_status: int | None = None
    count: int | None = None
    status: PublicStatus | None = None
    """What callers saw from then on; None: as the state says."""


@dataclass(frozen=True, slots=True)
class StatusChange:
    """A status that the job came to. `number` is its entry's place in the timeline, from 0.

    Timelines only grow, so that a number means the same thing for ever.
    """

    position: int
    at: datetime
    status: PublicStatus


def status_changes(timeline: Sequence[TimelineEntry]) -> tuple[StatusChange, ...]:
    """Every change of status, oldest first. Entries of callbacks come late, and do not count."""
    found: list[StatusChange] = []
    for number, entry in enumerate(timeline):
        status = entry.status or PUBLIC_STATUS[entry.state]
        if entry.kind is TimelineKind.DELIVERY or (found and found[-1].status is status):
            continue
        found.append(StatusChange(number, entry.at, status))
    return tuple(found)
