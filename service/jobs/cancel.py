"""Cancelling a job: what a cancel means in each state, and the write that does it.

A job is reported as cancelled only if RunComfy cannot be running it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from core.clock import Clock
from core.deduplication.coalescing import cancel_for_successor, handover
from core.errors import NotFound
from core.jobs.job import BillingStatus, CancelOutcome, Job, JobState, Trigger
from core.jobs.timeline import TimelineEntry, TimelineKind
from core.observability.events import Emit
from core.observability.job_events import change_events
from core.store.interfaces import JobRepository, WebhookConfigRepository
from core.store.jobs import Projection
from core.tenants.api_keys import Credential, Scope
from core.transactions.job_update import Change, WriteResult
from core.transactions.webhook_deliveries import event_of_change, with_deliveries
from service.errors import JobContended

CANCEL_REQUESTED: Final = "cancel_requested"
MAX_CANCEL_WAIT: Final = timedelta(seconds=2)
"""How long a cancel waits for RunComfy's answer; RunComfy's own clients wait five seconds."""
MAX_TRIES: Final = 5
"""Tries against concurrent writes. A worker writes a job a few times a second at most."""


@dataclass(frozen=True, slots=True)
class CancelDecision:
    """The outcome for the caller, and the job's next record if it changes."""

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
        # A resend was approved, so an earlier submit of this job may have been charged.
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
    _S.ARCHIVING: _NOT_CANCELLABLE,
    _S.FOLLOWING: _cancel_immediately,
    _S.SUCCEEDED: _NOT_CANCELLABLE,
    _S.FAILED: _NOT_CANCELLABLE,
    _S.EXPIRED: _NOT_CANCELLABLE,
    _S.CANCELLED: _unchanged(CancelOutcome.CANCELLED),
}


def decide_cancel(job: Job, now: datetime) -> CancelDecision:
    """Return what a cancel of `job` means now."""
    return DECISIONS[job.state](job, now)


@dataclass(frozen=True, slots=True)
class Cancellation:
    """The result of a cancel. `is_acted_on` False: the job had ended, or would not be cancelled."""

    job: Job
    outcome: CancelOutcome
    is_acted_on: bool


def pending_cancel_outcome(job: Job) -> CancelOutcome:
    """Return the outcome of a cancel that was requested of `job` before."""
    return job.cancel_outcome or CancelOutcome.REQUESTED


class JobCanceller:
    """Cancels jobs for the holders of keys."""

    def __init__(
        self,
        jobs: JobRepository,
        webhook_configs: WebhookConfigRepository,
        clock: Clock,
        emit: Emit,
    ) -> None:
        """`webhook_configs` are read for the deliveries that a cancel creates."""
        self._jobs = jobs
        self._webhook_configs = webhook_configs
        self._clock = clock
        self._emit = emit

    async def cancel(self, credential: Credential, job_id: str) -> Cancellation:
        """Cancel as far as possible.

        Raises `NotFound`, `JobContended` and the store's errors.
        """
        for _ in range(MAX_TRIES):
            view = await self._jobs.read(credential, job_id, Projection.STATUS, Scope.CANCEL)
            before, now = view.record.job, self._clock.now()
            decision = decide_cancel(before, now)
            if decision.after is None:
                is_pending = decision.outcome is CancelOutcome.REQUESTED
                return Cancellation(before, decision.outcome, is_acted_on=is_pending)
            change = await self._build_change(before, decision, now)
            outcome = await self._jobs.store(change)
            if outcome is WriteResult.HAS_FOLLOWERS:
                handed_over = await self._hand_over(before, now)
                if handed_over is None:
                    continue
                change, decision = handed_over, CancelDecision(CancelOutcome.CANCELLED)
                outcome = await self._jobs.store(change)
            if outcome is WriteResult.STORED:
                self._emit_change(change)
                return Cancellation(change.after, decision.outcome, is_acted_on=True)
            if outcome is WriteResult.NOT_FOUND:
                raise NotFound
        raise JobContended

    async def _hand_over(self, before: Job, now: datetime) -> Change | None:
        """The change that makes a follower the leader; None: no follower is left."""
        successor = await self._jobs.load_successor(before.id)
        if successor is None:
            return None
        change = handover(before, cancel_for_successor(before, now), successor, now)
        return await self._with_deliveries(change, now)

    async def _build_change(self, before: Job, decision: CancelDecision, now: datetime) -> Change:
        after = decision.after or before
        entry = TimelineEntry(
            now, TimelineKind.CALLER, CANCEL_REQUESTED, after.state, status=after.status
        )
        trigger = Trigger.CANCEL_REQUESTED if after.state is not before.state else None
        change = Change(before, after, entry, trigger, wake_worker=decision.wake_worker)
        return await self._with_deliveries(change, now)

    async def _with_deliveries(self, change: Change, now: datetime) -> Change:
        event = event_of_change(change.before, change.after)
        if event is None:
            return change
        config = await self._webhook_configs.load_versioned(change.after.tenant)
        return with_deliveries(change, event, config, now)

    def _emit_change(self, change: Change) -> None:
        for event in change_events(change):
            self._emit(event)
