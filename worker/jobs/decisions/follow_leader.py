"""Decides for a follower from its leader's record: wait, share its result, or take its place."""

from dataclasses import replace
from datetime import datetime
from typing import Final

from core.deduplication.coalescing import (
    COST_SOURCE_LEADER,
    ZERO_COST,
    next_follower_poll_at,
    shared_cost,
)
from core.jobs.job import BillingStatus, Job, JobError, JobRecord, JobState, Trigger
from core.transactions.job_update import Change
from worker.jobs.decisions.submit import is_repetition
from worker.jobs.decisions.transition import Reschedule, finish, transition

_NOT_STARTED: Final = JobError(
    "start_timeout", "The job's time ran out before the request that it had joined was sent."
)
_TIMED_OUT: Final = JobError(
    "timeout",
    "The job's time ran out while RunComfy was working on the request that it had joined.",
)
_LEADER_LOST: Final = JobError("leader_lost", "The request that the job had joined is gone.")
_OVER_BUDGET: Final = JobError(
    "budget_reached",
    "The request that the job had joined ended without a result, and the budget covers no other.",
)
_UNSUBMITTED: Final = frozenset({JobState.QUEUED, JobState.FOLLOWING})


def decide_follow(
    job: Job, leader: JobRecord | None, now: datetime, *, promote: bool
) -> Change | Reschedule:
    """Decide for a follower from its leader's record.

    If the leader was cancelled or ran out of its own time, a follower takes its place. If it
    failed, its followers fail too, unless their tenant chose to try again (`promote`), or it was
    a repetition of an earlier request, which nothing is wrong with. Where the
    leader may have been billed, no follower tries again: that would be a second payment without an
    operator's decision.
    """
    if leader is None:
        return _fail(job, _LEADER_LOST, now)
    match leader.job.state:
        case JobState.SUCCEEDED:
            return _finish_with_leader_result(job, leader, now)
        case JobState.CANCELLED | JobState.EXPIRED if (
            leader.job.billed is not BillingStatus.UNKNOWN
        ):
            return _expire_if_overdue(job, leader.job, now) or _promote(job, leader.job.id, now)
        case JobState.FAILED if (
            promote or is_repetition(leader.job)
        ) and leader.job.billed is BillingStatus.NO:
            return _expire_if_overdue(job, leader.job, now) or _promote(job, leader.job.id, now)
        case JobState.CANCELLED | JobState.EXPIRED | JobState.FAILED:
            return _fail(job, leader.job.error or _LEADER_LOST, now, leader.job)
        case _:
            overdue = _expire_if_overdue(job, leader.job, now)
            return overdue or _mirror_leader_status(job, leader.job, now)


def fail_over_budget(job: Job, now: datetime) -> Change:
    """Return the end of a follower that cannot be promoted: its tenant's budget is used up."""
    return _fail(job, _OVER_BUDGET, now)


def _finish_with_leader_result(job: Job, leader: JobRecord, now: datetime) -> Change:
    change = finish(
        job,
        Trigger.LEADER_SUCCEEDED,
        now,
        detail=leader.job.id,
        leader=leader.job.id,
        cost=ZERO_COST,
        cost_source=COST_SOURCE_LEADER,
        cost_saved=shared_cost(leader.job),
        upstream_finished_at=leader.job.upstream_finished_at,
        **_status_words(leader.job),
    )
    return replace(change, output=leader.output)


def _fail(job: Job, error: JobError, now: datetime, leader: Job | None = None) -> Change:
    words = _status_words(leader) if leader else {}
    return finish(job, Trigger.LEADER_FAILED, now, detail=job.leader, error=error, **words)


def _status_words(leader: Job) -> dict[str, str | None]:
    """RunComfy's words for the leader's end: the follower's caller reads them too."""
    return {
        "upstream_status": leader.upstream_status,
        "upstream_result_status": leader.upstream_result_status,
    }


def _promote(job: Job, leader_id: str, now: datetime) -> Change | Reschedule:
    # In the leader's place it would hold back the other followers until its own time.
    if job.not_before is not None and now < job.not_before:
        return Reschedule(job, job.not_before)
    change = transition(
        job,
        Trigger.PROMOTED,
        now,
        detail=leader_id,
        leader=None,
        upstream_status=None,
        upstream_running=False,
        next_run_at=None,
    )
    return replace(change, expected_leader=leader_id)


def _expire_if_overdue(job: Job, leader: Job, now: datetime) -> Change | None:
    if job.deadline is not None and now >= job.deadline:
        return finish(job, Trigger.DEADLINE_EXCEEDED, now, error=_TIMED_OUT)
    unsent = leader.is_final or leader.state in _UNSUBMITTED
    if unsent and job.start_deadline is not None and now >= job.start_deadline:
        return finish(job, Trigger.DEADLINE_EXCEEDED, now, error=_NOT_STARTED)
    return None


def _mirror_leader_status(job: Job, leader: Job, now: datetime) -> Change | Reschedule:
    seen = (leader.upstream_status, leader.upstream_running, leader.queue_position)
    if seen == (job.upstream_status, job.upstream_running, job.queue_position):
        return Reschedule(job, next_follower_poll_at(job, now))
    status, is_running, position = seen
    change = transition(
        job,
        Trigger.STILL_RUNNING,
        now,
        detail=leader.id,
        upstream_status=status,
        upstream_running=is_running,
        queue_position=position,
        leader=leader.id,
    )
    # The caller's timeline has a line only where the status that the caller reads changes.
    return change if change.after.status is not job.status else replace(change, entry=None)
