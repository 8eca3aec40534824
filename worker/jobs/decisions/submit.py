"""What happens to a job before RunComfy has it: the claim, the submit's answer, doubt."""

from datetime import datetime, timedelta
from typing import Final

from core.jobs.in_doubt import POLICY_ACTOR, Resend, resolve
from core.jobs.job import BillingStatus, CancelOutcome, Job, JobError, Trigger
from core.tenants.tenant import DoubtPolicy
from worker.jobs.decisions.poll_schedule import first_poll_delay
from worker.jobs.decisions.transition import (
    DecisionContext,
    Transition,
    billed_if_free,
    cap_at_deadline,
    finish,
    transition_to,
)
from worker.ports import Accepted, Indeterminate, NotSent, Rejected, SubmitAnswer, UpstreamFault

_START_TIMEOUT: Final = JobError(
    "start_timeout", "The job's time ran out before it was sent to RunComfy."
)
_RESEND_TIMEOUT: Final = JobError(
    "timeout", "The job's time ran out before its approved resend could leave."
)


def claim_submit(job: Job, holder: str, now: datetime, context: DecisionContext) -> Transition:
    """The intent to submit, written before anything leaves."""
    after = job.transition(
        Trigger.CLAIMED,
        now,
        attempts=job.attempts + 1,
        lease_holder=holder,
        sent_at=now,
        next_run_at=now + context.policy.lease,
        billed=BillingStatus.UNKNOWN,
    )
    return transition_to(after, Trigger.CLAIMED, now)


def end_before_submit(job: Job, now: datetime) -> Transition | None:
    """The end of a job that still waits with us, if it was cancelled or its time is up; free."""
    if job.cancel_requested_at is not None:
        return cancel_unsubmitted(job, now)
    limit = submit_deadline(job)
    if limit is None or now < limit:
        return None
    error = _RESEND_TIMEOUT if job.resends_approved else _START_TIMEOUT
    return finish(job, Trigger.DEADLINE_EXCEEDED, now, error=error, billed=billed_if_free(job))


def submit_deadline(job: Job) -> datetime | None:
    """Until when a job may wait with us. `start_deadline` binds no resend: one submit had left."""
    limits = (job.deadline,) if job.resends_approved else (job.start_deadline, job.deadline)
    return min((limit for limit in limits if limit is not None), default=None)


def cancel_unsubmitted(job: Job, now: datetime) -> Transition:
    """A job that nothing has left for is cancelled at once, and free."""
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
) -> Transition:
    """What a submit's answer means. `job` is submitting, or in doubt when the answer came late."""
    match answer:
        case Accepted(upstream_id):
            return accept(job, upstream_id, now, context)
        case NotSent(fault, retry_after):
            return _retry_submit(job, fault, retry_after, now, context)
        case Rejected(fault, account_refused):
            code = "upstream_account_refused" if account_refused else "upstream_rejected"
            error = JobError(code, fault.message, fault.code)
            return finish(
                job, Trigger.REJECTED, now, fault=fault, error=error, billed=billed_if_free(job)
            )
        case Indeterminate(fault):
            return mark_in_doubt(job, fault, doubt_policy, now, context)


def accept(job: Job, upstream_id: str, now: datetime, context: DecisionContext) -> Transition:
    """RunComfy has the job, and says so."""
    wished = job.cancel_requested_at is not None
    wait = first_poll_delay(context.run_history_of(job.model_id), context.policy, context.rng)
    due_at = now if wished else cap_at_deadline(job, now + wait)
    after = job.accept(upstream_id, now, due_at)
    return transition_to(after, Trigger.ACCEPTED, now, detail=upstream_id)


def mark_in_doubt(
    job: Job,
    fault: UpstreamFault,
    doubt_policy: DoubtPolicy,
    now: datetime,
    context: DecisionContext,
) -> Transition:
    """Nobody knows whether it was taken. It waits for a person as long as the policy says."""
    hold = context.policy.doubt_hold if doubt_policy is DoubtPolicy.HOLD else timedelta()
    after = job.transition(
        Trigger.NO_ANSWER,
        now,
        in_doubt_since=now,
        next_run_at=cap_at_deadline(job, now + hold),
        billed=BillingStatus.UNKNOWN,
    )
    return transition_to(after, Trigger.NO_ANSWER, now, fault=fault)


def decide_expired_hold(job: Job, doubt_policy: DoubtPolicy, now: datetime) -> Transition:
    """The hold ran out and nobody came: send once more if the policy says so, else give up."""
    timely = job.deadline is None or now < job.deadline
    if doubt_policy is DoubtPolicy.RESEND and timely and job.resends_approved == 0:
        resent = resolve(job, Resend(), POLICY_ACTOR, now)
        return Transition(after=resent.after, entry=resent.entry, trigger=resent.trigger)
    error = JobError(
        "submit_in_doubt",
        "RunComfy gave no usable answer to the submit: it may have been taken and billed.",
    )
    fact = Trigger.MARKED_LOST if timely else Trigger.DEADLINE_EXCEEDED
    return finish(job, fact, now, error=error, billed=BillingStatus.UNKNOWN)


def _retry_submit(
    job: Job,
    fault: UpstreamFault,
    retry_after: timedelta | None,
    now: datetime,
    context: DecisionContext,
) -> Transition:
    failures = job.send_failures + 1
    wait = max(
        context.policy.resubmit_backoff.delay(failures, context.rng), retry_after or timedelta()
    )
    limit = submit_deadline(job)
    due_at = now + wait if limit is None else min(now + wait, limit)
    after = job.transition(
        Trigger.NOT_SENT,
        now,
        attempts=job.attempts - 1,
        send_failures=failures,
        sent_at=None,
        in_doubt_since=None,
        next_run_at=now if job.cancel_requested_at is not None else due_at,
        billed=billed_if_free(job),
    )
    return transition_to(after, Trigger.NOT_SENT, now, fault=fault)


def mark_lease_lost(
    job: Job, doubt_policy: DoubtPolicy, now: datetime, context: DecisionContext
) -> Transition:
    """A submit whose worker gave no sign of life in time: its answer, if any, died with it."""
    fault = UpstreamFault("worker_lost", "The worker died between the intent and the answer.")
    return mark_in_doubt(job, fault, doubt_policy, now, context)
