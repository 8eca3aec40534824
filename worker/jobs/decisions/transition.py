"""What a decision is, and the small steps that the decisions share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from random import Random
from typing import Any

from core.jobs.job import BillingStatus, FollowUp, Job, Trigger
from core.jobs.run_times import RunHistory
from core.jobs.timeline import TimelineEntry, TimelineKind
from core.money import MicroUsd
from worker.jobs.policies import LifecyclePolicy
from worker.ports import UpstreamFault

SOURCE_RUNCOMFY = "runcomfy"


@dataclass(frozen=True, slots=True)
class Transition:
    """The next record, what moved it (None: only a field changed), and what goes with it."""

    after: Job
    entry: TimelineEntry | None
    trigger: Trigger | None = None
    output: bytes | None = None
    expected_leader: str | None = None
    """See `core.transactions.job_update.Change`."""


@dataclass(frozen=True, slots=True)
class Reschedule:
    """Nothing changed: look again at `due_at`."""

    next_run_at: datetime


RunHistoryLookup = Callable[[str], RunHistory]


def _empty_history(_: str) -> RunHistory:
    return RunHistory()


@dataclass(frozen=True, slots=True)
class DecisionContext:
    """What every decision needs beside the job and the answer."""

    policy: LifecyclePolicy
    rng: Random
    run_history_of: RunHistoryLookup = _empty_history
    """How long the last runs of a model took."""


REACHABLE_FIELDS: Mapping[str, Any] = {
    "upstream_error": None,
    "upstream_error_since": None,
    "read_attempts": 0,
}
"""The fields of a job about which RunComfy gives usable answers."""


def cap_at_deadline(job: Job, next_run_at: datetime) -> datetime:
    """`due_at`, but no later than the job's own end of time."""
    return next_run_at if job.deadline is None else min(next_run_at, job.deadline)


def cost_fields(billed: BillingStatus, cost: MicroUsd | None) -> dict[str, Any]:
    """The fields of the record that tell what was charged, and who says so."""
    source = None if cost is None else SOURCE_RUNCOMFY
    return {"billed": billed, "cost": cost, "cost_source": source}


def billed_if_free(job: Job) -> BillingStatus:
    """What is known of money when this submit cost nothing: an earlier one in doubt may have."""
    return BillingStatus.UNKNOWN if job.resends_approved else BillingStatus.NO


def billed_from_cost(job: Job, cost: MicroUsd | None) -> BillingStatus:
    """What a failed job's cost says; RunComfy tells no other way."""
    if cost is None:
        return BillingStatus.UNKNOWN
    return BillingStatus.YES if cost > 0 else billed_if_free(job)


def cost_follow_up_fields(
    cost: MicroUsd | None, now: datetime, context: DecisionContext
) -> dict[str, Any]:
    """The fields that send somebody to read a cost that RunComfy has not told yet."""
    if cost is not None:
        return {}
    return {
        "follow_up": FollowUp.READ_COST,
        "next_run_at": now + context.policy.cost_read_delays[0],
        "read_attempts": 0,
    }


def finish(
    job: Job,
    trigger: Trigger,
    now: datetime,
    *,
    fault: UpstreamFault | None = None,
    detail: str | None = None,
    **changes: Any,  # noqa: ANN401 - fields of the record
) -> Transition:
    """A move to a final state."""
    changes = {"next_run_at": None, "finished_at": now, "queue_position": None} | changes
    return transition_to(
        job.transition(trigger, now, **changes), trigger, now, fault=fault, detail=detail
    )


def transition_to(
    after: Job,
    trigger: Trigger,
    now: datetime,
    *,
    fault: UpstreamFault | None = None,
    detail: str | None = None,
) -> Transition:
    """A move by a fact, with its line in the timeline."""
    note = TimelineKind.UPSTREAM if fault is not None else TimelineKind.TRANSITION
    entry = TimelineEntry(
        at=now,
        kind=note,
        code=trigger,
        state=after.state,
        detail=detail if fault is None else f"{fault.kind}: {fault.message}",
        http_status=fault.http_status if fault else None,
        status=after.status_override,
    )
    return Transition(after=after, entry=entry, trigger=trigger)


def timeline_entry(
    after: Job,
    event: str,
    now: datetime,
    *,
    fault: UpstreamFault | None = None,
    detail: str | None = None,
) -> TimelineEntry:
    """A line in the timeline about something RunComfy said that moved no state."""
    return TimelineEntry(
        at=now,
        kind=TimelineKind.UPSTREAM,
        code=event,
        state=after.state,
        detail=detail or (fault.message if fault else None),
        http_status=fault.http_status if fault else None,
        status=after.status_override,
    )
