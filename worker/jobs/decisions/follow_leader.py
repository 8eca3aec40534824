"""What a follower learns from the job whose paid work it shares, and who goes on with that work."""

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
from worker.jobs.decisions.transition import Reschedule, Transition, finish, transition_to

_NOT_STARTED: Final = JobError(
    "start_timeout", "The job's time ran out before the request that it had joined was sent."
)
_TIMED_OUT: Final = JobError(
    "timeout",
    "The job's time ran out while RunComfy was working on the request that it had joined.",
)
_LEADER_LOST: Final = JobError("leader_lost", "The request that the job had joined is gone.")
_OVER_BUDGET: Final = JobError(
    "budget_reached", "The request that the job had joined ended, and the budget covers no other."
)
_UNSUBMITTED: Final = frozenset({JobState.QUEUED, JobState.FOLLOWING})


def decide_follow(
    job: Job, leader: JobRecord | None, now: datetime, *, promote: bool
) -> Transition | Reschedule:
    """What its leader's record says to a follower.

    A leader that went for its own caller's reasons leaves its place to a follower; what made it
    fail is told to all, unless the tenant wants to try again (`promote`). Nobody tries again where
    money may be gone: that would be a second payment without a person's word.
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
        case JobState.FAILED if promote and leader.job.billed is BillingStatus.NO:
            return _expire_if_overdue(job, leader.job, now) or _promote(job, leader.job.id, now)
        case JobState.CANCELLED | JobState.EXPIRED | JobState.FAILED:
            return _fail(job, leader.job.error or _LEADER_LOST, now)
        case _:
            return _expire_if_overdue(job, leader.job, now) or _mirror_leader_status(
                job, leader.job, now
            )


def fail_over_budget(job: Job, now: datetime) -> Transition:
    """The follower could not take its leader's place: its tenant cannot pay for it."""
    return _fail(job, _OVER_BUDGET, now)


def _finish_with_leader_result(job: Job, leader: JobRecord, now: datetime) -> Transition:
    move = finish(
        job,
        Trigger.LEADER_SUCCEEDED,
        now,
        detail=leader.job.id,
        leader=leader.job.id,
        cost=ZERO_COST,
        cost_source=COST_SOURCE_LEADER,
        cost_saved=shared_cost(leader.job),
        upstream_finished_at=leader.job.upstream_finished_at,
    )
    return Transition(move.after, move.entry, move.trigger, output=leader.output)


def _fail(job: Job, error: JobError, now: datetime) -> Transition:
    return finish(job, Trigger.LEADER_FAILED, now, detail=job.leader, error=error)


def _promote(job: Job, leader_id: str, now: datetime) -> Transition:
    after = job.transition(
        Trigger.PROMOTED,
        now,
        leader=None,
        upstream_status=None,
        upstream_running=False,
        next_run_at=None,
    )
    return replace(
        transition_to(after, Trigger.PROMOTED, now, detail=leader_id), expected_leader=leader_id
    )


def _expire_if_overdue(job: Job, leader: Job, now: datetime) -> Transition | None:
    if job.deadline is not None and now >= job.deadline:
        return finish(job, Trigger.DEADLINE_EXCEEDED, now, error=_TIMED_OUT)
    unsent = leader.is_final or leader.state in _UNSUBMITTED
    if unsent and job.start_deadline is not None and now >= job.start_deadline:
        return finish(job, Trigger.DEADLINE_EXCEEDED, now, error=_NOT_STARTED)
    return None


def _mirror_leader_status(job: Job, leader: Job, now: datetime) -> Transition | Reschedule:
    seen = (leader.upstream_status, leader.upstream_running, leader.queue_position)
    if seen == (job.upstream_status, job.upstream_running, job.queue_position):
        return Reschedule(next_follower_poll_at(job, now))
    word, in_progress, position = seen
    after = job.transition(
        Trigger.STILL_RUNNING,
        now,
        upstream_status=word,
        upstream_running=in_progress,
        queue_position=position,
        leader=leader.id,
    )
    if after.status is job.status:
        return Transition(after=after, entry=None, trigger=Trigger.STILL_RUNNING)
    return transition_to(after, Trigger.STILL_RUNNING, now, detail=leader.id)
