"""Request coalescing: followers wait for the job of a leader, and may take over its work. Pure.

Works on records only; the store knows which jobs follow a leader.
"""

from datetime import datetime, timedelta
from typing import Final

from core.jobs.job import BillingStatus, CancelOutcome, Job, JobError, Trigger
from core.jobs.timeline import TimelineEntry, TimelineKind
from core.money import MicroUsd
from core.retention import MAX_CACHE_LIFETIME
from core.transactions.job_update import Change, Successor

FOLLOWER_POLL_INTERVAL: Final = timedelta(seconds=10)
"""How often a follower reads its leader without a message; a change of the leader wakes it."""
ZERO_COST: Final = MicroUsd(0)
COST_SOURCE_CACHE: Final = "cache"
COST_SOURCE_LEADER: Final = "shared"
"""The sources of a cost of 0: a cached result, or the result of a leader."""
TIMEOUT_ERROR: Final = JobError(
    "timeout", "The job's deadline passed while RunComfy was working on it."
)


def first_deadline(job: Job) -> datetime | None:
    """Return the first of the job's deadlines, if any."""
    start, end = job.start_deadline, job.deadline
    return min(start, end) if start is not None and end is not None else start or end


def next_follower_poll_at(job: Job, now: datetime) -> datetime:
    """Return when a follower reads its leader next, unless it is woken before."""
    limits = (job.start_deadline, job.deadline)
    return min(
        limit
        for limit in (now + FOLLOWER_POLL_INTERVAL, *limits)
        if limit is not None and limit > now
    )


def shared_cost(job: Job) -> MicroUsd | None:
    """Return what each follower of a succeeded job would have paid for the result."""
    return job.estimate if job.cost is None else job.cost


def cacheable_until(job: Job, now: datetime) -> datetime:
    """Return when RunComfy deletes the output of a succeeded job."""
    return (job.upstream_finished_at or now) + MAX_CACHE_LIFETIME


def take_over(successor: Job, leader: Job, now: datetime) -> Job:
    """Return the follower that continues its leader's running work.

    It is due immediately: its first poll reads the upstream status, and triggers the webhooks that
    belong to it.
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
    """Return the leader that its caller cancelled while followers need its work: it ends, unbilled.

    A possible charge for an earlier submit in doubt stays with the leader.
    """
    return leader.transition(
        Trigger.HANDED_OVER,
        now,
        next_run_at=None,
        finished_at=now,
        cancel_requested_at=leader.cancel_requested_at or now,
        cancel_outcome=CancelOutcome.CANCELLED,
        billed=_billed_without_last_submit(leader),
        is_handed_over=True,
    )


def expire_for_successor(leader: Job, now: datetime) -> Job:
    """Return the leader that timed out while followers need its work: it ends, unbilled."""
    return leader.transition(
        Trigger.DEADLINE_EXCEEDED,
        now,
        next_run_at=None,
        finished_at=now,
        error=TIMEOUT_ERROR,
        billed=_billed_without_last_submit(leader),
        is_handed_over=True,
    )


def _billed_without_last_submit(job: Job) -> BillingStatus:
    """Return the billing status of a job if another job pays for its last submit."""
    return BillingStatus.UNKNOWN if job.resends_approved else BillingStatus.NO


def handover(before: Job, after: Job, successor: Job, now: datetime) -> Change:
    """Return one change of two jobs: `before` ends as `after`, and `successor` has its work.

    Each timeline names the other job. The caller adds the webhook deliveries of the end.
    """
    new_leader = take_over(successor, before, now)
    return Change(
        before=before,
        after=after,
        entry=_timeline_entry(after, Trigger.HANDED_OVER, new_leader.id, now),
        trigger=Trigger.HANDED_OVER,
        successor=Successor(
            successor, new_leader, _timeline_entry(new_leader, Trigger.TAKEN_OVER, before.id, now)
        ),
    )


def _timeline_entry(job: Job, code: Trigger, other: str, now: datetime) -> TimelineEntry:
    return TimelineEntry(now, TimelineKind.TRANSITION, code, job.state, other, status=job.status)
