"""How a submit in doubt is resolved by a person (or, for a resend, by the tenant's policy).

Pure.
"""

from dataclasses import dataclass
from datetime import datetime

from core.errors import Conflict
from core.jobs.job import Billed, Fact, Job, JobError, JobState
from core.jobs.timeline import Note, TimelineEntry

POLICY = "policy"
"""Who approved a resend that no person did."""


@dataclass(frozen=True, slots=True)
class Attach:
    """RunComfy has it, under this id: the job goes on from there."""

    upstream_id: str


@dataclass(frozen=True, slots=True)
class Lost:
    """RunComfy does not have it, or nobody will ever know: the job fails, `billed: unknown`."""


@dataclass(frozen=True, slots=True)
class Resend:
    """Exactly one further submit may leave, though the first may have been charged."""


Resolution = Attach | Lost | Resend


@dataclass(frozen=True, slots=True)
class Resolved:
    """The job after its resolution, the fact, and its line in the timeline."""

    after: Job
    fact: Fact
    entry: TimelineEntry


def resolve(job: Job, resolution: Resolution, by: str, now: datetime) -> Resolved:
    """What a resolution makes of a job.

    `by` names who decided. Raises `Conflict` if it has no doubt.
    """
    if job.state is not JobState.IN_DOUBT:
        raise Conflict(f"The job is {job.state}, not in doubt.")
    after, fact, word = _meaning(job, resolution, now)
    entry = TimelineEntry(
        at=now,
        note=Note.OPERATOR,
        what=fact,
        state=after.state,
        detail=f"{word} by {by}",
        status=after.unspoken,
    )
    return Resolved(after, fact, entry)


def _meaning(job: Job, resolution: Resolution, now: datetime) -> tuple[Job, Fact, str]:
    match resolution:
        case Attach(upstream_id):
            after = job.accepted(upstream_id, now, due_at=now)
            return after, Fact.ACCEPTED, f"attached {upstream_id}"
        case Lost():
            return _lost(job, now), Fact.GIVEN_UP, "lost"
        case Resend():
            return _resent(job, now), Fact.RESEND_APPROVED, "resend approved"


def _lost(job: Job, now: datetime) -> Job:
    error = JobError("submit_lost", "The submit got no usable answer and was marked as lost.")
    return job.after(
        Fact.GIVEN_UP, now, error=error, billed=Billed.UNKNOWN, due_at=None, finished_at=now
    )


def _resent(job: Job, now: datetime) -> Job:
    return job.after(
        Fact.RESEND_APPROVED,
        now,
        resends_approved=job.resends_approved + 1,
        doubt_since=None,
        due_at=now,
    )
