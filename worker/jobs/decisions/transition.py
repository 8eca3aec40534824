"""Builds the changes that decisions return, and what all decisions share. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Any

from core.jobs.job import BillingStatus, FollowUp, Job, Trigger
from core.jobs.run_times import RunHistory
from core.jobs.timeline import TimelineEntry, TimelineKind
from core.money import MicroUsd
from core.runtime.statically_frozen import statically_frozen
from core.transactions.job_update import Change
from worker.jobs.policies import LifecyclePolicy
from worker.ports import UpstreamFault

SOURCE_RUNCOMFY = "runcomfy"


@statically_frozen
class Reschedule:
    """The record stays as it is; the job runs again at `next_run_at`."""

    job: Job
    next_run_at: datetime


RunHistoryLookup = Callable[[str], RunHistory]
"""Returns how long the last runs of a model took."""


def _empty_history(_: str) -> RunHistory:
    return RunHistory()


@dataclass(frozen=True, slots=True)
class DecisionContext:
    """What a decision needs beside the job, the answer and the time."""

    worker_id: str
    """Unique among all workers: it names the holder of a submit's lease."""
    policy: LifecyclePolicy
    rng: Random
    run_history_of: RunHistoryLookup = _empty_history


REACHABLE_FIELDS: Mapping[str, Any] = {
    "upstream_error": None,
    "upstream_error_since": None,
    "read_attempts": 0,
}
"""The fields of a job about which RunComfy gives usable answers."""


def outage_delay(
    elapsed: timedelta, retry_after: timedelta | None, context: DecisionContext
) -> timedelta:
    """Return the delay before the next read after `elapsed` without a usable answer.

    It is not shorter than RunComfy's own `retry_after`.
    """
    delay = context.policy.outage_polling.delay(elapsed, context.rng)
    return max(delay, retry_after or timedelta())


def cap_at_deadline(job: Job, next_run_at: datetime) -> datetime:
    """Return `next_run_at`, or the job's deadline if that comes first."""
    return next_run_at if job.deadline is None else min(next_run_at, job.deadline)


def cost_fields(billed: BillingStatus, cost: MicroUsd | None) -> dict[str, Any]:
    """Return the fields that state what was charged, and the source of that figure."""
    source = None if cost is None else SOURCE_RUNCOMFY
    return {"billed": billed, "cost": cost, "cost_source": source}


def billed_if_free(job: Job) -> BillingStatus:
    """Return the billing status for a last submit that cost nothing.

    After an approved resend it stays unknown: the first submit, in doubt, may have been charged.
    """
    return BillingStatus.UNKNOWN if job.resends_approved else BillingStatus.NO


def billed_from_cost(job: Job, cost: MicroUsd | None) -> BillingStatus:
    """Return the billing status of a failed job. RunComfy states it by the cost alone."""
    if cost is None:
        return BillingStatus.UNKNOWN
    return BillingStatus.YES if cost > 0 else billed_if_free(job)


def cost_follow_up_fields(
    cost: MicroUsd | None, now: datetime, context: DecisionContext
) -> dict[str, Any]:
    """Return the fields that schedule a later read of a cost that RunComfy has not stated yet."""
    if cost is not None:
        return {}
    return {
        "follow_up": FollowUp.READ_COST,
        "next_run_at": now + context.policy.cost_read_delays[0],
        "read_attempts": 0,
    }


def finish(job: Job, trigger: Trigger, now: datetime, **changes: Any) -> Change:  # noqa: ANN401 - see `transition`
    """Return the transition to a final state; `changes` as for `transition`."""
    ended = {"next_run_at": None, "finished_at": now, "queue_position": None}
    return transition(job, trigger, now, **ended | changes)


def transition(
    job: Job,
    trigger: Trigger,
    now: datetime,
    *,
    fault: UpstreamFault | None = None,
    detail: str | None = None,
    **changes: Any,  # noqa: ANN401 - fields of the record
) -> Change:
    """Return the change that a trigger makes, with its line in the timeline.

    Raises `IllegalTransition` for a trigger that the state does not have.
    """
    return record_transition(
        job, job.transition(trigger, now, **changes), trigger, fault=fault, detail=detail
    )


def record_transition(
    before: Job,
    after: Job,
    trigger: Trigger,
    *,
    fault: UpstreamFault | None = None,
    detail: str | None = None,
) -> Change:
    """Return the change from one record to the next, with its line in the timeline."""
    entry = TimelineEntry(
        at=after.updated_at,
        kind=TimelineKind.TRANSITION if fault is None else TimelineKind.UPSTREAM,
        code=trigger,
        state=after.state,
        detail=detail if fault is None else f"{fault.kind}: {fault.message}",
        http_status=None if fault is None else fault.http_status,
        status=after.status_override,
    )
    return Change(before, after, entry, trigger)


def annotate(
    job: Job,
    event: str,
    now: datetime,
    *,
    fault: UpstreamFault | None = None,
    detail: str | None = None,
    **changes: Any,  # noqa: ANN401 - fields of the record
) -> Change:
    """Return a change of some fields within the same state, with a line in the timeline."""
    after = job.evolve(now, **changes)
    return Change(job, after, upstream_entry(after, event, fault=fault, detail=detail))


def upstream_entry(
    after: Job, event: str, *, fault: UpstreamFault | None = None, detail: str | None = None
) -> TimelineEntry:
    """Return a timeline line about an answer of RunComfy's that changed no state."""
    return TimelineEntry(
        at=after.updated_at,
        kind=TimelineKind.UPSTREAM,
        code=event,
        state=after.state,
        detail=detail or (None if fault is None else fault.message),
        http_status=None if fault is None else fault.http_status,
        status=after.status_override,
    )
