"""What a cancel means in each state of a job, and the step that makes it so. Knows no HTTP.

Honest: nothing is called cancelled that RunComfy may still be running.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from core.deduplication.coalescing import cancel_for_successor, handover
from core.errors import NotFound
from core.jobs.job import BillingStatus, CancelOutcome, Job, JobState, Trigger
from core.jobs.timeline import TimelineEntry, TimelineKind
from core.observability.job_events import change_events
from core.store.jobs import Projection
from core.tenants.api_keys import Credential, Scope
from core.transactions.job_update import Change, WriteResult
from core.transactions.notifications import needs_endpoints, with_deliveries
from service.context import AppContext
from service.errors import JobContended

CANCEL_REQUESTED: Final = "cancel_asked"
MAX_TRIES: Final = 5
"""A worker writes a job's record a few times a second at most; five losses in a row are no race."""


@dataclass(frozen=True, slots=True)
class CancelDecision:
    """What the caller is told, and the job's next record where it changes."""

    outcome: CancelOutcome
    after: Job | None = None
    wake_worker: bool = False


def _cancel_immediately(job: Job, now: datetime) -> CancelDecision:
    after = job.transition(
        Trigger.CANCEL_REQUESTED,
        now,
        next_run_at=None,
        finished_at=now,
        cancel_requested_at=now,
        cancel_outcome=CancelOutcome.CANCELLED,
        # A resend was approved: what became of the first one is still not known.
        billed=BillingStatus.UNKNOWN if job.resends_approved else BillingStatus.NO,
    )
    return CancelDecision(CancelOutcome.CANCELLED, after)


def _record_request(job: Job, now: datetime) -> CancelDecision:
    if job.cancel_requested_at is not None:
        return CancelDecision(CancelOutcome.REQUESTED)
    after = job.evolve(now, cancel_requested_at=now, cancel_outcome=CancelOutcome.REQUESTED)
    return CancelDecision(CancelOutcome.REQUESTED, after)


def _forward_to_upstream(job: Job, now: datetime) -> CancelDecision:
    if job.cancel_outcome is CancelOutcome.NOT_CANCELLABLE:
        return CancelDecision(CancelOutcome.NOT_CANCELLABLE)
    after = job.transition(
        Trigger.CANCEL_REQUESTED,
        now,
        next_run_at=now,
        cancel_requested_at=now,
        cancel_outcome=CancelOutcome.REQUESTED,
    )
    return CancelDecision(CancelOutcome.REQUESTED, after, wake_worker=True)


def _unchanged(outcome: CancelOutcome) -> Callable[[Job, datetime], CancelDecision]:
    return lambda _, __: CancelDecision(outcome)


_S: Final = JobState
_NOT_CANCELLABLE: Final = _unchanged(CancelOutcome.NOT_CANCELLABLE)

DECISIONS: Final[Mapping[JobState, Callable[[Job, datetime], CancelDecision]]] = {
    _S.QUEUED: _cancel_immediately,
    _S.SUBMITTING: _record_request,
    _S.IN_DOUBT: _record_request,
    _S.RUNNING: _forward_to_upstream,
    _S.CANCELLING: _unchanged(CancelOutcome.REQUESTED),
    _S.COLLECTING: _NOT_CANCELLABLE,
    _S.FOLLOWING: _cancel_immediately,
    _S.SUCCEEDED: _NOT_CANCELLABLE,
    _S.FAILED: _NOT_CANCELLABLE,
    _S.EXPIRED: _NOT_CANCELLABLE,
    _S.CANCELLED: _unchanged(CancelOutcome.CANCELLED),
}


def decide_cancel(job: Job, now: datetime) -> CancelDecision:
    """What a cancel of `job` means now."""
    return DECISIONS[job.state](job, now)


@dataclass(frozen=True, slots=True)
class Cancellation:
    """What became of a cancel."""

    job: Job
    outcome: CancelOutcome


async def cancel_job(context: AppContext, credential: Credential, job_id: str) -> Cancellation:
    """Cancel as far as possible. Raises `NotFound`, `JobContended` and the store's errors."""
    for _ in range(MAX_TRIES):
        view = await context.jobs.read(credential, job_id, Projection.STATUS, Scope.CANCEL)
        before, now = view.record.job, context.clock.now()
        decision = decide_cancel(before, now)
        if decision.after is None:
            return Cancellation(before, decision.outcome)
        change = await _build_change(context, before, decision, now)
        outcome = await context.jobs.store(change)
        if outcome is WriteResult.HAS_FOLLOWERS:
            handed_on = await _hand_over(context, before, now)
            if handed_on is None:
                continue
            change, decision = handed_on, CancelDecision(CancelOutcome.CANCELLED)
            outcome = await context.jobs.store(change)
        if outcome is WriteResult.STORED:
            _emit_change(context, change)
            return Cancellation(change.after, decision.outcome)
        if outcome is WriteResult.NOT_FOUND:
            raise NotFound
    raise JobContended


async def _hand_over(context: AppContext, before: Job, now: datetime) -> Change | None:
    """Others wait for what RunComfy is doing: one of them takes it over. None: not any more."""
    heir = await context.jobs.load_successor(before.id)
    if heir is None:
        return None
    change = handover(before, cancel_for_successor(before, now), heir, now)
    return await _with_deliveries(context, change, now)


async def _build_change(
    context: AppContext, before: Job, decision: CancelDecision, now: datetime
) -> Change:
    after = decision.after or before
    entry = TimelineEntry(
        now, TimelineKind.CALLER, CANCEL_REQUESTED, after.state, status=after.status
    )
    trigger = Trigger.CANCEL_REQUESTED if after.state is not before.state else None
    change = Change(before, after, entry, trigger, wake_worker=decision.wake_worker)
    return await _with_deliveries(context, change, now)


async def _with_deliveries(context: AppContext, change: Change, now: datetime) -> Change:
    if not needs_endpoints(change.before, change.after):
        return change
    known = await context.webhooks.configs.load_versioned(change.after.tenant)
    return with_deliveries(change, known, context.ids, now)


def _emit_change(context: AppContext, change: Change) -> None:
    for event in change_events(change):
        context.emit(event)
