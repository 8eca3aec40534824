"""A job's life as its caller is told of it: each change of status, found in the timeline. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from core.jobs import PUBLIC_STATUS, Note, PublicStatus, TimelineEntry


@dataclass(frozen=True, slots=True)
class Milestone:
    """A status that the job came to. `number` is its entry's place in the timeline, from 0.

    Timelines only grow, so that a number means the same thing for ever.
    """

    number: int
    at: datetime
    status: PublicStatus


def milestones(timeline: Sequence[TimelineEntry]) -> tuple[Milestone, ...]:
    """Every change of status, oldest first. Entries of callbacks come late, and do not count."""
    found: list[Milestone] = []
    for number, entry in enumerate(timeline):
        status = entry.status or PUBLIC_STATUS[entry.state]
        if entry.note is Note.DELIVERY or (found and found[-1].status is status):
            continue
        found.append(Milestone(number, entry.at, status))
    return tuple(found)
