"""What a follower learns from the job whose paid work it shares, and who goes on with that work."""

from dataclasses import replace
from datetime import datetime
from typing import Final

from core.deduplication.coalescing import FREE, FROM_LEADER, next_check, worth
from core.jobs.job import Billed, Fact, Job, JobError, JobRecord, JobState
from worker.jobs.decisions.transition import Move, Wait, ended, moved

_NOT_STARTED: Final = JobError(
    "start_timeout", "The job's time ran out before the request that it had joined was sent."
)
_OUT_OF_TIME: Final = JobError(
    "timeout",
    "The job's time ran out while RunComfy was working on the request that it had joined.",
)
_LEADER_LOST: Final = JobError("leader_lost", "The request that the job had joined is gone.")
_OVER_BUDGET: Final = JobError(
    "budget_reached", "The request that the job had joined ended, and the budget covers no other."
)
_UNSENT: Final = frozenset({JobState.QUEUED, JobState.FOLLOWING})


def followed(job: Job, leader: JobRecord | None, now: datetime, *, promote: bool) -> Move | Wait:
    """What its leader's record says to a follower.

    A leader that went for its own caller's reasons leaves its place to a follower; what made it
    fail is told to all, unless the tenant wants to try again (`promote`). Nobody tries again where
    money may be gone: that would be a second payment without a person's word.
    """
    if leader is None:
        return _failed(job, _LEADER_LOST, now)
    match leader.job.state:
        case JobState.SUCCEEDED:
            return _shared(job, leader, now)
        case JobState.CANCELLED | JobState.EXPIRED if leader.job.billed is not Billed.UNKNOWN:
            return _overdue(job, leader.job, now) or _promoted(job, leader.job.id, now)
        case JobState.FAILED if promote and leader.job.billed is Billed.NO:
            return _overdue(job, leader.job, now) or _promoted(job, leader.job.id, now)
        case JobState.CANCELLED | JobState.EXPIRED | JobState.FAILED:
            return _failed(job, leader.job.error or _LEADER_LOST, now)
        case _:
            return _overdue(job, leader.job, now) or _under_way(job, leader.job, now)


def over_budget(job: Job, now: datetime) -> Move:
    """The follower could not take its leader's place: its tenant cannot pay for it."""
    return _failed(job, _OVER_BUDGET, now)


def _shared(job: Job, leader: JobRecord, now: datetime) -> Move:
    move = ended(
        job,
        Fact.SHARED,
        now,
        detail=leader.job.id,
        leader=leader.job.id,
        cost=FREE,
        cost_source=FROM_LEADER,
        saved=worth(leader.job),
        upstream_finished_at=leader.job.upstream_finished_at,
    )
    return Move(move.after, move.entry, move.fact, output=leader.output)


def _failed(job: Job, error: JobError, now: datetime) -> Move:
    return ended(job, Fact.LEADER_FAILED, now, detail=job.leader, error=error)


def _promoted(job: Job, leader: str, now: datetime) -> Move:
    after = job.after(
        Fact.PROMOTED, now, leader=None, upstream_word=None, upstream_running=False, due_at=None
    )
    return replace(moved(after, Fact.PROMOTED, now, detail=leader), instead_of=leader)


def _overdue(job: Job, leader: Job, now: datetime) -> Move | None:
    if job.finish_by is not None and now >= job.finish_by:
        return ended(job, Fact.OUT_OF_TIME, now, error=_OUT_OF_TIME)
    unsent = leader.final or leader.state in _UNSENT
    if unsent and job.start_by is not None and now >= job.start_by:
        return ended(job, Fact.OUT_OF_TIME, now, error=_NOT_STARTED)
    return None


def _under_way(job: Job, leader: Job, now: datetime) -> Move | Wait:
    seen = (leader.upstream_word, leader.upstream_running, leader.queue_position)
    if seen == (job.upstream_word, job.upstream_running, job.queue_position):
        return Wait(next_check(job, now))
    word, in_progress, position = seen
    after = job.after(
        Fact.STILL_RUNNING,
        now,
        upstream_word=word,
        upstream_running=in_progress,
        queue_position=position,
        leader=leader.id,
    )
    if after.status is job.status:
        return Move(after=after, entry=None, fact=Fact.STILL_RUNNING)
    return moved(after, Fact.STILL_RUNNING, now, detail=leader.id)
