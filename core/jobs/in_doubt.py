"""The resolution of an in-doubt submit by an operator or, for a resend, by the tenant's policy.

Pure.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from core.errors import Conflict
from core.jobs.job import BillingStatus, Job, JobError, JobState, Trigger
from core.jobs.timeline import TimelineEntry, TimelineKind

POLICY_ACTOR = "policy"
"""The actor of a resend that the tenant's policy approved."""


@dataclass(frozen=True, slots=True)
class Attach:
    """RunComfy has the request under this id: the job continues with it."""

    upstream_id: str


Resolution = Attach | Literal["lost", "resend"]
"""An operator's decision.

`lost`: RunComfy does not have it, or that cannot be found out: the job fails, `billed: unknown`.
`resend`: exactly one further submit may be sent, although the first one may have been charged.
"""


@dataclass(frozen=True, slots=True)
class ResolutionResult:
    """The job after its resolution, the trigger, and the timeline entry."""

    after: Job
    trigger: Trigger
    entry: TimelineEntry


def resolve(job: Job, resolution: Resolution, actor: str, now: datetime) -> ResolutionResult:
    """Return the job after `resolution` by `actor`.

    Raises `Conflict` if the job is not in doubt.
    """
    if job.state is not JobState.IN_DOUBT:
        raise Conflict(f"The job is {job.state}, not in doubt.")
    after, trigger, word = _apply_resolution(job, resolution, now)
    entry = TimelineEntry(
        at=now,
        kind=TimelineKind.OPERATOR,
        code=trigger,
        state=after.state,
        detail=f"{word} by {actor}",
        status=after.status_override,
    )
    return ResolutionResult(after, trigger, entry)


def _apply_resolution(job: Job, resolution: Resolution, now: datetime) -> tuple[Job, Trigger, str]:
    match resolution:
        case Attach(upstream_id):
            after = job.accept(upstream_id, now, next_run_at=now)
            return after, Trigger.ACCEPTED, f"attached {upstream_id}"
        case "lost":
            return _mark_lost(job, now), Trigger.MARKED_LOST, "lost"
        case "resend":
            return _approve_resend(job, now), Trigger.RESEND_APPROVED, "resend approved"


def _mark_lost(job: Job, now: datetime) -> Job:
    error = JobError("submit_lost", "The submit got no usable answer and was marked as lost.")
    return job.transition(
        Trigger.MARKED_LOST,
        now,
        error=error,
        billed=BillingStatus.UNKNOWN,
        next_run_at=None,
        finished_at=now,
    )


def _approve_resend(job: Job, now: datetime) -> Job:
    return job.transition(
        Trigger.RESEND_APPROVED,
        now,
        resends_approved=job.resends_approved + 1,
        in_doubt_since=None,
        next_run_at=now,
    )
