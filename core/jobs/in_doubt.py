"""The resolution of an in-doubt submit by an operator or, for a resend, by the tenant's policy.

Pure.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Literal

from core.errors import Conflict
from core.jobs.job import BillingStatus, Job, JobError, JobState, Trigger
from core.jobs.timeline import TimelineEntry, TimelineKind

POLICY_ACTOR = "policy"
"""The actor of a resend that the tenant's policy approved."""


@dataclass(frozen=True, slots=True)
class Attach:
    """RunComfy has the request under this id: the job continues with it."""

    upstream_id: str
    force: bool = False
    """Attach it although RunComfy does not know it, or does not answer."""


Resolution = Attach | Literal["lost", "resend", "undo"]
"""An operator's decision.

`Attach`: a worker reads the status of that id at RunComfy; until then the job stays in doubt.
`lost`: RunComfy does not have it, or that cannot be found out: the job fails, `billed: unknown`.
`resend`: exactly one further submit may be sent, although the first one may have been charged.
`undo`: the attached id is wrong: RunComfy does not know it. The job is in doubt again.
"""

ATTACH_REQUESTED: Final = "attach_requested"
ATTACH_REFUSED: Final = "attach_refused"
"""Codes of timeline entries."""
NOT_FOUND: Final = "not_found"
"""`Job.upstream_error` of a job whose id RunComfy does not know."""


@dataclass(frozen=True, slots=True)
class ResolutionResult:
    """The job after its resolution, the trigger, and the timeline entry."""

    after: Job
    trigger: Trigger | None
    """None: the job stays in doubt until RunComfy confirmed the id."""
    entry: TimelineEntry


def resolve(job: Job, resolution: Resolution, actor: str, now: datetime) -> ResolutionResult:
    """Return the job after `resolution` by `actor`.

    Raises `Conflict` if the job is not in doubt.
    """
    if resolution == "undo":
        _require_wrong_id(job)
    elif job.state is not JobState.IN_DOUBT:
        raise Conflict(f"The job is {job.state}, not in doubt.")
    after, trigger, word = _apply_resolution(job, resolution, now)
    entry = TimelineEntry(
        at=now,
        kind=TimelineKind.OPERATOR,
        code=trigger or ATTACH_REQUESTED,
        state=after.state,
        detail=f"{word} by {actor}",
        status=after.status_override,
    )
    return ResolutionResult(after, trigger, entry)


def attach(job: Job, upstream_id: str, now: datetime) -> Job:
    """Return the job under an id that an operator named. Raises `IllegalTransition`."""
    return replace(job.accept(upstream_id, now, next_run_at=now), is_attached=True)


def _require_wrong_id(job: Job) -> None:
    if job.state is not JobState.RUNNING or not job.is_attached:
        raise Conflict(f"The job is {job.state}, not running under an attached id.")
    if job.upstream_error != NOT_FOUND:
        raise Conflict("RunComfy knows the attached id, or was not polled since.")


def _apply_resolution(
    job: Job, resolution: Resolution, now: datetime
) -> tuple[Job, Trigger | None, str]:
    match resolution:
        case Attach(upstream_id, force=True):
            return attach(job, upstream_id, now), Trigger.ACCEPTED, f"attached {upstream_id}"
        case Attach(upstream_id):
            requested = job.evolve(now, attach_id=upstream_id, next_run_at=now)
            return requested, None, f"attach {upstream_id} requested"
        case "undo":
            return _detach(job, now), Trigger.DETACHED, f"{job.upstream_id} detached"
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


def _detach(job: Job, now: datetime) -> Job:
    # Without the instant of the doubt a worker holds it again, for as long as its setting is.
    return job.transition(
        Trigger.DETACHED,
        now,
        upstream_id=None,
        is_attached=False,
        upstream_status=None,
        upstream_running=False,
        queue_position=None,
        running_since=None,
        upstream_error=None,
        upstream_error_since=None,
        read_attempts=0,
        in_doubt_since=None,
        next_run_at=now,
    )


def _approve_resend(job: Job, now: datetime) -> Job:
    return job.transition(
        Trigger.RESEND_APPROVED,
        now,
        resends_approved=job.resends_approved + 1,
        in_doubt_since=None,
        next_run_at=now,
    )
