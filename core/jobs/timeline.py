"""A job's timeline, and the status changes in it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final

from core.jobs.job import PUBLIC_STATUS, JobState, PublicStatus, Trigger


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


ADMITTED: Final = "admitted"
"""Code of the first entry of a job that is paid for."""
JOINED: Final = "joined"
CACHE_HIT: Final = "cache_hit"
"""Codes of the first entries of jobs that are not paid for."""
_CODES_WITH_JOB_ID: Final = frozenset(
    {
        JOINED,
        CACHE_HIT,
        Trigger.LEADER_SUCCEEDED,
        Trigger.LEADER_FAILED,
        Trigger.PROMOTED,
        Trigger.HANDED_OVER,
        Trigger.TAKEN_OVER,
    }
)


def admitted_entry(at: datetime) -> TimelineEntry:
    """Return the first entry of a job that is paid for."""
    return TimelineEntry(at, TimelineKind.ADMISSION, ADMITTED, JobState.QUEUED)


def _names_a_job(entry: TimelineEntry) -> bool:
    return entry.state is JobState.FOLLOWING or entry.code in _CODES_WITH_JOB_ID


def named_jobs(timeline: Sequence[TimelineEntry]) -> frozenset[str]:
    """Return the ids of the other jobs that a timeline names: leaders, followers, successors."""
    return frozenset(entry.detail for entry in timeline if entry.detail and _names_a_job(entry))


def timeline_of_own_jobs(
    timeline: Sequence[TimelineEntry], own_jobs: Collection[str]
) -> tuple[TimelineEntry, ...]:
    """Return a timeline as the job's tenant reads it, with as many entries.

    It names no job but `own_jobs`: results may be shared among tenants.
    """
    return tuple(_entry_for_tenant(entry, own_jobs) for entry in timeline)


def _entry_for_tenant(entry: TimelineEntry, own_jobs: Collection[str]) -> TimelineEntry:
    is_foreign = _names_a_job(entry) and entry.detail not in own_jobs
    return replace(entry, detail=None) if is_foreign else entry


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
