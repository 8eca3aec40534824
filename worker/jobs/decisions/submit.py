"""Decides for a job that RunComfy does not have yet: the claim, the submit's answer, doubt."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from core.jobs.in_doubt import POLICY_ACTOR, resolve
from core.jobs.job import (
    BillingStatus,
    CancelOutcome,
    Job,
    JobError,
    JobState,
    Trigger,
    WaitingFor,
)
from core.tenants.tenant import DoubtPolicy
from core.transactions.job_update import Change
from core.upstream.circuits import SubmitBlock
from worker.jobs.decisions.poll_schedule import first_poll_delay
from worker.jobs.decisions.transition import (
    DecisionContext,
    Reschedule,
    annotate,
    billed_if_free,
    cap_at_deadline,
    finish,
    record_transition,
    transition,
)
from worker.ports import (
    Accepted,
    Indeterminate,
    NotSent,
    RefusalScope,
    Rejected,
    SubmitAnswer,
    UpstreamFault,
)

SUBMIT_TRIGGERS: Final[Mapping[type[SubmitAnswer], Trigger]] = {
    Accepted: Trigger.ACCEPTED,
    NotSent: Trigger.NOT_SENT,
    Rejected: Trigger.REJECTED,
    Indeterminate: Trigger.NO_ANSWER,
}

WAITING_BY_SCOPE: Final[Mapping[RefusalScope, WaitingFor]] = {
    RefusalScope.ACCOUNT: WaitingFor.ACCOUNT,
    RefusalScope.BALANCE: WaitingFor.BALANCE,
}
"""Refusals after which a job waits; all others end it."""

UNSENT: Final = frozenset({JobState.QUEUED, JobState.SUBMITTING, JobState.FOLLOWING})
"""States of a job that was not sent, as long as the store is compared with the journal: no submit
leaves that is claimed meanwhile. A follower could take its leader's place later."""

_START_TIMEOUT: Final = JobError(
    "start_timeout", "The job's time ran out before it was sent to RunComfy."
)
_REPEATED: Final = "repeated_request"
MAX_WAIT_WITH_SLOT: Final = timedelta(seconds=3)
_RESEND_TIMEOUT: Final = JobError(
    "timeout", "The job's time ran out before its approved resend could leave."
)


def claim_submit(job: Job, now: datetime, context: DecisionContext) -> Change:
    """Return the claim: the intent to submit, stored before anything is sent.

    A worker that dies after it leaves the job `submitting`, never `queued`: it is not sent again.
    """
    return transition(
        job,
        Trigger.CLAIMED,
        now,
        attempts=job.attempts + 1,
        lease_holder=context.worker_id,
        sent_at=now,
        next_run_at=now + context.policy.lease,
        billed=BillingStatus.UNKNOWN,
    )


def end_before_submit(job: Job, now: datetime) -> Change | None:
    """Return the end, free, of a queued job that was cancelled or is out of time; else None."""
    if job.cancel_requested_at is not None:
        return cancel_unsubmitted(job, now)
    limit = submit_deadline(job)
    if limit is None or now < limit:
        return None
    error = _RESEND_TIMEOUT if job.resends_approved else _start_timeout(job)
    return finish(job, Trigger.DEADLINE_EXCEEDED, now, error=error, billed=billed_if_free(job))


def repetition_of(first: Job, admitted: Sequence[Job]) -> Job | None:
    """Return which of the jobs of a repeated request, one or a batch, is the earlier job `first`.

    Only one is: a batch may have the same input several times, of which others were not submitted.
    It may be ended already, by a comparison that was interrupted.
    """
    same = [job for job in admitted if job.fingerprint == first.fingerprint]
    known = (job for job in same if job.error == _repeated(first.id))
    return next(known, None) or next((job for job in same if job.state in UNSENT), None)


def end_repetition(job: Job, first: str, now: datetime) -> Change:
    """Return the end, free, of a job that was not sent: it was submitted before as the job `first`.

    The store had forgotten its idempotency key.
    """
    return finish(job, Trigger.REPEATED, now, error=_repeated(first), billed=billed_if_free(job))


def _repeated(first: str) -> JobError:
    return JobError(
        _REPEATED,
        f"This request, with its Idempotency-Key, was submitted before as {first}, which has the "
        "result. The gateway's store had lost it for a moment.",
    )


def is_repetition(job: Job) -> bool:
    """Return whether a job has ended because its request was submitted before."""
    return job.error is not None and job.error.code == _REPEATED


def _start_timeout(job: Job) -> JobError:
    if job.waiting_for is None:
        return _START_TIMEOUT
    reason = _WAITING_TEXTS[job.waiting_for]
    return replace(_START_TIMEOUT, message=f"{_START_TIMEOUT.message} It waited: {reason}.")


_WAITING_TEXTS: Final[Mapping[WaitingFor, str]] = {
    WaitingFor.BALANCE: "the RunComfy balance did not cover its price",
    WaitingFor.ACCOUNT: "RunComfy refused the gateway's account",
    WaitingFor.MODEL: "RunComfy answered no submit of its model",
    WaitingFor.RUNCOMFY: "RunComfy answered no submit",
    WaitingFor.SOURCE: "a private source of its input could not be read",
    WaitingFor.NOT_BEFORE: "its `not_before` had not come",
}


def wait(job: Job, block: SubmitBlock, now: datetime) -> Change | Reschedule:
    """Return the step of a queued job that may not be submitted before `block` ends.

    It gives its slot back, unless it waits for a moment only. Its deadlines still hold.
    """
    due_at = min(block.until, submit_deadline(job) or block.until)
    if job.waiting_for is block.waiting_for or (
        job.waiting_for is None and due_at - now <= MAX_WAIT_WITH_SLOT
    ):
        return Reschedule(job, due_at)
    return _start_waiting(job, block.waiting_for, due_at, now)


def hold(job: Job, now: datetime) -> Change | Reschedule | None:
    """Return the step of a queued job before its `not_before`; None: it may be submitted.

    Its admission holds it already, unless it followed another job and was promoted.
    """
    if job.not_before is None or now >= job.not_before:
        return None
    if job.waiting_for is WaitingFor.NOT_BEFORE:
        return Reschedule(job, job.not_before)
    return _start_waiting(job, WaitingFor.NOT_BEFORE, job.not_before, now)


def _start_waiting(job: Job, reason: WaitingFor, due_at: datetime, now: datetime) -> Change:
    return annotate(job, "waiting", now, detail=reason, waiting_for=reason, next_run_at=due_at)


def stop_waiting(job: Job, now: datetime) -> Change:
    """Return the step of a job that waits no longer: it queues for a slot again."""
    return annotate(
        job,
        "waiting_ended",
        now,
        detail=job.waiting_for,
        waiting_for=None,
        next_run_at=submit_deadline(job),
    )


def submit_deadline(job: Job) -> datetime | None:
    """Return until when a job may wait to be sent.

    `start_deadline` does not bind a resend: the first submit has left.
    """
    limits = (job.deadline,) if job.resends_approved else (job.start_deadline, job.deadline)
    return min((limit for limit in limits if limit is not None), default=None)


def cancel_unsubmitted(job: Job, now: datetime) -> Change:
    """Return the end of a cancelled job for which nothing is being sent."""
    return finish(
        job,
        Trigger.CANCEL_REQUESTED,
        now,
        billed=billed_if_free(job),
        cancel_requested_at=job.cancel_requested_at or now,
        cancel_outcome=CancelOutcome.CANCELLED,
    )


def decide_submit(
    job: Job,
    answer: SubmitAnswer,
    doubt_policy: DoubtPolicy,
    now: datetime,
    context: DecisionContext,
) -> Change:
    """Decide from a submit's answer for a job that is submitting, or in doubt if it came late."""
    match answer:
        case Accepted(upstream_id):
            return accept(job, upstream_id, now, context)
        case NotSent(fault, retry_after):
            return _retry_submit(job, fault, retry_after, now, context)
        case Rejected(fault, scope) if scope in WAITING_BY_SCOPE:
            # An operator can make it acceptable, so the refusal costs the job nothing but time.
            return _retry_submit(job, fault, None, now, context, WAITING_BY_SCOPE[scope])
        case Rejected(fault, scope):
            code = "upstream_model_refused" if scope is RefusalScope.MODEL else "upstream_rejected"
            error = JobError(code, fault.message, fault.code)
            return finish(
                job, Trigger.REJECTED, now, fault=fault, error=error, billed=billed_if_free(job)
            )
        case Indeterminate(fault):
            return mark_in_doubt(job, fault, doubt_policy, now, context)


def accept(job: Job, upstream_id: str, now: datetime, context: DecisionContext) -> Change:
    """Return the step into `running`, with the first poll; a requested cancel is forwarded now."""
    history = context.run_history_of(job.model_id)
    delay = first_poll_delay(history, context.policy, context.rng)
    is_cancelled = job.cancel_requested_at is not None
    due_at = now if is_cancelled else cap_at_deadline(job, now + delay)
    after = job.accept(upstream_id, now, due_at)
    return record_transition(job, after, Trigger.ACCEPTED, detail=upstream_id)


def mark_in_doubt(
    job: Job,
    fault: UpstreamFault,
    doubt_policy: DoubtPolicy,
    now: datetime,
    context: DecisionContext,
) -> Change:
    """Return the step into `in_doubt`: whether RunComfy took the submit is unknown.

    Under the policy `hold` it waits for an operator; the other policies apply immediately.
    """
    hold = context.policy.doubt_hold if doubt_policy is DoubtPolicy.HOLD else timedelta()
    return transition(
        job,
        Trigger.NO_ANSWER,
        now,
        fault=fault,
        in_doubt_since=now,
        next_run_at=cap_at_deadline(job, now + hold),
        billed=BillingStatus.UNKNOWN,
    )


def decide_expired_hold(job: Job, doubt_policy: DoubtPolicy, now: datetime) -> Change:
    """Decide for a job in doubt that no operator resolved in time: resend once, or fail."""
    in_time = job.deadline is None or now < job.deadline
    if doubt_policy is DoubtPolicy.RESEND and in_time and job.resends_approved == 0:
        resent = resolve(job, "resend", POLICY_ACTOR, now)
        return Change(job, resent.after, resent.entry, resent.trigger)
    error = JobError(
        "submit_in_doubt",
        "RunComfy gave no usable answer to the submit: it may have been taken and billed.",
    )
    trigger = Trigger.MARKED_LOST if in_time else Trigger.DEADLINE_EXCEEDED
    return finish(job, trigger, now, error=error, billed=BillingStatus.UNKNOWN)


def _retry_submit(
    job: Job,
    fault: UpstreamFault,
    retry_after: timedelta | None,
    now: datetime,
    context: DecisionContext,
    waiting_for: WaitingFor | None = None,
) -> Change:
    failures = job.send_failures + 1
    delay = context.policy.resubmit_backoff.delay(failures, context.rng)
    due_at = now + max(delay, retry_after or timedelta())
    limit = submit_deadline(job)
    if limit is not None:
        due_at = min(due_at, limit)
    return transition(
        job,
        Trigger.NOT_SENT,
        now,
        fault=fault,
        attempts=job.attempts - 1,
        send_failures=failures,
        sent_at=None,
        in_doubt_since=None,
        next_run_at=now if job.cancel_requested_at is not None else due_at,
        billed=billed_if_free(job),
        waiting_for=waiting_for,
    )
