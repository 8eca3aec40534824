"""Identical requests and the one that is paid for: joining, inheriting, handing on. Pure.

Knows records alone. Who follows whom is the store's to know.
"""

from datetime import datetime, timedelta
from typing import Final

from core.jobs.job import Billed, CancelOutcome, Fact, Job, JobError
from core.jobs.timeline import Note, TimelineEntry
from core.money import MicroUsd
from core.retention import MOST_LIFETIME
from core.transactions.job_update import Change, Heir

FOLLOW_CHECK: Final = timedelta(seconds=10)
"""How often a follower looks at its leader unasked; its leader's news wake it at once."""
FREE: Final = MicroUsd(0)
FROM_CACHE: Final = "cache"
FROM_LEADER: Final = "shared"
"""Where the cost of 0 comes from."""
RAN_OUT: Final = JobError("timeout", "The job's time ran out while RunComfy was working on it.")


def time_limit(job: Job) -> datetime | None:
    """The first of the job's deadlines."""
    limits = (job.start_by, job.finish_by)
    return min((limit for limit in limits if limit is not None), default=None)


def next_check(job: Job, now: datetime) -> datetime:
    """When a follower looks at its leader next, unless it is woken."""
    limits = (job.start_by, job.finish_by)
    return min(
        limit for limit in (now + FOLLOW_CHECK, *limits) if limit is not None and limit > now
    )


def worth(job: Job) -> MicroUsd | None:
    """What a success that others share would have cost each of them."""
    return job.estimate if job.cost is None else job.cost


def reusable_until(job: Job, now: datetime) -> datetime:
    """When RunComfy deletes a success's output."""
    return (job.upstream_finished_at or now) + MOST_LIFETIME


def inherited(heir: Job, leader: Job, now: datetime) -> Job:
    """The follower that goes on with its leader's running work, at once.

    How far that is, its next poll tells it, and its callbacks with it.
    """
    return heir.after(
        Fact.INHERITED,
        now,
        due_at=now,
        attempts=leader.attempts,
        sent_at=leader.sent_at,
        upstream_id=leader.upstream_id,
        running_since=leader.running_since,
        trouble=leader.trouble,
        trouble_since=leader.trouble_since,
        billed=Billed.UNKNOWN,
        leader=None,
    )


def cancelled_for_heir(leader: Job, now: datetime) -> Job:
    """The job whose caller cancels it while others want its work: over for him, and free.

    What an earlier submit in doubt may have cost stays his.
    """
    return leader.after(
        Fact.HANDED_ON,
        now,
        due_at=None,
        finished_at=now,
        cancel_asked_at=leader.cancel_asked_at or now,
        cancel_outcome=CancelOutcome.CANCELLED,
        billed=_without_the_last(leader),
    )


def expired_for_heir(leader: Job, now: datetime) -> Job:
    """The job whose time is up while others want its work: over for its caller, and free."""
    return leader.after(
        Fact.OUT_OF_TIME,
        now,
        due_at=None,
        finished_at=now,
        error=RAN_OUT,
        billed=_without_the_last(leader),
    )


def _without_the_last(job: Job) -> Billed:
    """What is known of a job's money when another pays for its last submit."""
    return Billed.UNKNOWN if job.resends_approved else Billed.NO


def handover(before: Job, after: Job, heir: Job, now: datetime) -> Change:
    """One step for two jobs: `before` ends as `after`, and its follower has its work.

    Each timeline names the other job. The callbacks of the end are the caller's to add.
    """
    taker = inherited(heir, before, now)
    return Change(
        before=before,
        after=after,
        entries=(_entry(after, Fact.HANDED_ON, taker.id, now),),
        heir=Heir(heir, taker, _entry(taker, Fact.INHERITED, before.id, now)),
    )


def _entry(job: Job, what: Fact, other: str, now: datetime) -> TimelineEntry:
    return TimelineEntry(now, Note.MOVED, what, job.state, other, status=job.status)
