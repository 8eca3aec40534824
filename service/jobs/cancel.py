"""What a cancel means in each state of a job, and the step that makes it so. Knows no HTTP.

Honest: nothing is called cancelled that RunComfy may still be running.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from core.deduplication.coalescing import cancelled_for_heir, handover
from core.errors import NotFound
from core.jobs.job import Billed, CancelOutcome, Fact, Job, JobState
from core.jobs.timeline import Note, TimelineEntry
from core.observability.job_events import told, told_of_handover
from core.store.jobs import Depth
from core.tenants.api_keys import Credential, Scope
from core.transactions.job_update import Change, Outcome
from core.transactions.notifications import announced, may_notify
from service.context import Resources
from service.errors import JobContended

CANCEL_ASKED: Final = "cancel_asked"
MOST_TRIES: Final = 5
"""A worker writes a job's record a few times a second at most; five losses in a row are no race."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What the caller is told, and the job's next record where it changes."""

    outcome: CancelOutcome
    after: Job | None = None
    ring: bool = False


def _at_once(job: Job, now: datetime) -> Decision:
    after = job.after(
        Fact.CANCEL_ASKED,
        now,
        due_at=None,
        finished_at=now,
        cancel_asked_at=now,
        cancel_outcome=CancelOutcome.CANCELLED,
        # A resend was approved: what became of the first one is still not known.
        billed=Billed.UNKNOWN if job.resends_approved else Billed.NO,
    )
    return Decision(CancelOutcome.CANCELLED, after)


def _noted(job: Job, now: datetime) -> Decision:
    if job.cancel_asked_at is not None:
        return Decision(CancelOutcome.REQUESTED)
    after = job.noted(now, cancel_asked_at=now, cancel_outcome=CancelOutcome.REQUESTED)
    return Decision(CancelOutcome.REQUESTED, after)


def _passed_on(job: Job, now: datetime) -> Decision:
    if job.cancel_outcome is CancelOutcome.NOT_CANCELLABLE:
        return Decision(CancelOutcome.NOT_CANCELLABLE)
    after = job.after(
        Fact.CANCEL_ASKED,
        now,
        due_at=now,
        cancel_asked_at=now,
        cancel_outcome=CancelOutcome.REQUESTED,
    )
    return Decision(CancelOutcome.REQUESTED, after, ring=True)


def _told(outcome: CancelOutcome) -> Callable[[Job, datetime], Decision]:
    return lambda _, __: Decision(outcome)


_S: Final = JobState
_TOO_LATE: Final = _told(CancelOutcome.NOT_CANCELLABLE)

DECISIONS: Final[Mapping[JobState, Callable[[Job, datetime], Decision]]] = {
    _S.QUEUED: _at_once,
    _S.SUBMITTING: _noted,
    _S.IN_DOUBT: _noted,
    _S.RUNNING: _passed_on,
    _S.CANCELLING: _told(CancelOutcome.REQUESTED),
    _S.COLLECTING: _TOO_LATE,
    _S.FOLLOWING: _at_once,
    _S.SUCCEEDED: _TOO_LATE,
    _S.FAILED: _TOO_LATE,
    _S.EXPIRED: _TOO_LATE,
    _S.CANCELLED: _told(CancelOutcome.CANCELLED),
}


def decide_cancel(job: Job, now: datetime) -> Decision:
    """What a cancel of `job` means now."""
    return DECISIONS[job.state](job, now)


@dataclass(frozen=True, slots=True)
class Cancelled:
    """What became of a cancel."""

    job: Job
    outcome: CancelOutcome


async def cancel_job(resources: Resources, credential: Credential, job_id: str) -> Cancelled:
    """Cancel as far as possible. Raises `NotFound`, `JobContended` and the store's errors."""
    for _ in range(MOST_TRIES):
        view = await resources.jobs.read(credential, job_id, Depth.STATUS, Scope.CANCEL)
        before, now = view.record.job, resources.clock.now()
        decision = decide_cancel(before, now)
        if decision.after is None:
            return Cancelled(before, decision.outcome)
        change = await _change(resources, before, decision, now)
        outcome = await resources.jobs.store(change)
        if outcome is Outcome.WANTED:
            handed_on = await _handed_on(resources, before, now)
            if handed_on is None:
                continue
            change, decision = handed_on, Decision(CancelOutcome.CANCELLED)
            outcome = await resources.jobs.store(change)
        if outcome is Outcome.STORED:
            _tell(resources, change)
            return Cancelled(change.after, decision.outcome)
        if outcome is Outcome.UNKNOWN:
            raise NotFound
    raise JobContended


async def _handed_on(resources: Resources, before: Job, now: datetime) -> Change | None:
    """Others wait for what RunComfy is doing: one of them takes it over. None: not any more."""
    heir = await resources.jobs.heir(before.id)
    if heir is None:
        return None
    change = handover(before, cancelled_for_heir(before, now), heir, now)
    return await _announced(resources, change, now)


async def _change(resources: Resources, before: Job, decision: Decision, now: datetime) -> Change:
    after = decision.after or before
    entry = TimelineEntry(now, Note.CALLER, CANCEL_ASKED, after.state, status=after.status)
    change = Change(before, after, (entry,), ring=decision.ring)
    return await _announced(resources, change, now)


async def _announced(resources: Resources, change: Change, now: datetime) -> Change:
    if not may_notify(change.before, change.after):
        return change
    known = await resources.mailroom.setups.marked(change.after.tenant)
    return announced(change, known, resources.ids, now)


def _tell(resources: Resources, change: Change) -> None:
    if change.heir is not None:
        events = told_of_handover(change)
    else:
        moved = change.before.state is not change.after.state
        events = told(change, Fact.CANCEL_ASKED if moved else None)
    for event in events:
        resources.emit(event)
