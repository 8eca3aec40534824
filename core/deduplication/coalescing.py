"""Identical requests and the one that is paid for: joining, inheriting, handing on. Pure.

Knows records alone. Who follows whom is the store's to know.
"""

from datetime import datetime, timedelta
from typing import Final

from core.jobs.job import BillingStatus, CancelOutcome, Job, JobError, Trigger
from core.jobs.timeline import TimelineEntry, TimelineKind
from core.money import MicroUsd
from core.retention import MAX_CACHE_LIFETIME
from core.transactions.job_update import Change, Successor

FOLLOWER_POLL_INTERVAL: Final = timedelta(seconds=10)
"""How often a follower looks at its leader unasked; its leader's news wake it at once."""
ZERO_COST: Final = MicroUsd(0)
COST_SOURCE_CACHE: Final = "cache"
COST_SOURCE_LEADER: Final = "shared"
"""Where the cost of 0 comes from."""
TIMEOUT_ERROR: Final = JobError(
    "timeout", "The job's time ran out while RunComfy was working on it."
)


def first_deadline(job: Job) -> datetime | None:
    """The first of the job's deadlines."""
    limits = (job.start_deadline, job.deadline)
    return min((limit for limit in limits if limit is not None), default=None)


def next_follower_poll_at(job: Job, now: datetime) -> datetime:
    """When a follower looks at its leader next, unless it is woken."""
    limits = (job.start_deadline, job.deadline)
    return min(
        limit
        for limit in (now + FOLLOWER_POLL_INTERVAL, *limits)
        if limit is not None and limit > now
    )


def shared_cost(job: Job) -> MicroUsd | None:
    """What a success that others share would have cost each of them."""
    return job.estimate if job.cost is None else job.cost


def cacheable_until(job: Job, now: datetime) -> datetime:
    """When RunComfy deletes a success's output."""
    return (job.upstream_finished_at or now) + MAX_CACHE_LIFETIME


def take_over(successor: Job, leader: Job, now: datetime) -> Job:
    """The follower that goes on with its leader's running work, at once.

    How far that is, its next poll tells it, and its callbacks with it.
    """
    return successor.transition(
        Trigger.TAKEN_OVER,
        now,
        next_run_at=now,
        attempts=leader.attempts,
        sent_at=leader.sent_at,
        upstream_id=leader.upstream_id,
        running_since=leader.running_since,
        upstream_error=leader.upstream_error,
        upstream_error_since=leader.upstream_error_since,
        billed=BillingStatus.UNKNOWN,
        leader=None,
    )


def cancel_for_successor(leader: Job, now: datetime) -> Job:
    """The job whose caller cancels it while others want its work: over for him, and free.

    What an earlier submit in doubt may have cost stays his.
    """
    return leader.transition(
        Trigger.HANDED_OVER,
        now,
        next_run_at=None,
        finished_at=now,
        cancel_requested_at=leader.cancel_requested_at or now,
        cancel_outcome=CancelOutcome.CANCELLED,
        billed=_billed_without_last_submit(leader),
    )


def expire_for_successor(leader: Job, now: datetime) -> Job:
    """The job whose time is up while others want its work: over for its caller, and free."""
    return leader.transition(
        Trigger.DEADLINE_EXCEEDED,
        now,
        next_run_at=None,
        finished_at=now,
        error=TIMEOUT_ERROR,
        billed=_billed_without_last_submit(leader),
    )


def _billed_without_last_submit(job: Job) -> BillingStatus:
    """What is known of a job's money when another pays for its last submit."""
    return BillingStatus.UNKNOWN if job.resends_approved else BillingStatus.NO


def handover(before: Job, after: Job, successor: Job, now: datetime) -> Change:
    """One step for two jobs: `before` ends as `after`, and its follower has its work.

    Each timeline names the other job. The callbacks of the end are the caller's to add.
    """
    taker = take_over(successor, before, now)
    return Change(
        before=before,
        after=after,
        entry=_timeline_entry(after, Trigger.HANDED_OVER, taker.id, now),
        trigger=Trigger.HANDED_OVER,
        successor=Successor(
            successor, taker, _timeline_entry(taker, Trigger.TAKEN_OVER, before.id, now)
        ),
    )


def _timeline_entry(job: Job, code: Trigger, other: str, now: datetime) -> TimelineEntry:
    return TimelineEntry(now, TimelineKind.TRANSITION, code, job.state, other, status=job.status)
