"""Decides what a store that went back must learn from the journal. Pure."""

from collections.abc import Sequence
from enum import StrEnum

from core.jobs.job import Job, Trigger
from core.journal.records import Attempt, Outcome


class Difference(StrEnum):
    """What the store lacks of one job's entries."""

    AGREES = "agrees"
    """Nothing; or what it lacks is found when the job is claimed, before anything is sent."""
    ATTACH = "attach"
    """RunComfy has accepted a submit that the record does not know of."""
    SECOND_ACCEPTANCE = "second_acceptance"
    """As `ATTACH`, and the record has another RunComfy id, or has ended."""
    RESTORE = "restore"
    """The job."""


def compare(job: Job | None, attempts: Sequence[Attempt], accepted_id: str | None) -> Difference:
    """Compare a job's record (None: it is gone) with its entries.

    `accepted_id` is RunComfy's id of the last accepted submit. Entries without an acceptance need
    no change of the record: a queued job meets them when it is claimed, a submitting one when its
    lease ends, and a later state has left them behind.
    """
    if job is None:
        return Difference.RESTORE if attempts else Difference.AGREES
    if accepted_id is None or job.upstream_id == accepted_id:
        return Difference.AGREES
    return Difference.ATTACH if job.can(Trigger.ACCEPTED) else Difference.SECOND_ACCEPTANCE


def last_accepted(attempts: Sequence[Attempt]) -> int | None:
    """Return the number of the last accepted submit."""
    accepted = [each.number for each in attempts if each.outcome is Outcome.ACCEPTED]
    return accepted[-1] if accepted else None
