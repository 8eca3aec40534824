"""What happens to a job before RunComfy has it: the claim, the submit's answer, doubt."""

from datetime import datetime, timedelta
from typing import Final

from core.jobs.in_doubt import POLICY, Resend, resolve
from core.jobs.job import Billed, CancelOutcome, Fact, Job, JobError
from core.tenants.tenant import DoubtPolicy
from worker.jobs.decisions.poll_schedule import first_look
from worker.jobs.decisions.transition import Move, Rules, by_deadline, ended, free, moved
from worker.ports import Accepted, NoAnswer, NotSent, Rejected, SubmitAnswer, UpstreamFault

_TOO_LATE: Final = JobError(
    "start_timeout", "The job's time ran out before it was sent to RunComfy."
)
_TOO_LATE_AGAIN: Final = JobError(
    "timeout", "The job's time ran out before its approved resend could leave."
)


def claimed(job: Job, holder: str, now: datetime, rules: Rules) -> Move:
    """The intent to submit, written before anything leaves."""
    after = job.after(
        Fact.CLAIMED,
        now,
        attempts=job.attempts + 1,
        holder=holder,
        sent_at=now,
        due_at=now + rules.policy.lease,
        billed=Billed.UNKNOWN,
    )
    return moved(after, Fact.CLAIMED, now)


def start_overdue(job: Job, now: datetime) -> Move | None:
    """The end of a job that still waits with us, if it was cancelled or its time is up; free."""
    if job.cancel_asked_at is not None:
        return cancelled_here(job, now)
    limit = start_limit(job)
    if limit is None or now < limit:
        return None
    error = _TOO_LATE_AGAIN if job.resends_approved else _TOO_LATE
    return ended(job, Fact.OUT_OF_TIME, now, error=error, billed=free(job))


def start_limit(job: Job) -> datetime | None:
    """Until when a job may wait with us. `start_by` binds no resend: one submit had left."""
    limits = (job.finish_by,) if job.resends_approved else (job.start_by, job.finish_by)
    return min((limit for limit in limits if limit is not None), default=None)


def cancelled_here(job: Job, now: datetime) -> Move:
    """A job that nothing has left for is cancelled at once, and free."""
    return ended(
        job,
        Fact.CANCEL_ASKED,
        now,
        billed=free(job),
        cancel_asked_at=job.cancel_asked_at or now,
        cancel_outcome=CancelOutcome.CANCELLED,
    )


def submitted(
    job: Job, answer: SubmitAnswer, doubt: DoubtPolicy, now: datetime, rules: Rules
) -> Move:
    """What a submit's answer means. `job` is submitting, or in doubt when the answer came late."""
    match answer:
        case Accepted(upstream_id):
            return accepted(job, upstream_id, now, rules)
        case NotSent(fault, retry_after):
            return _not_sent(job, fault, retry_after, now, rules)
        case Rejected(fault, account_refused):
            code = "upstream_account_refused" if account_refused else "upstream_rejected"
            error = JobError(code, fault.message, fault.code)
            return ended(job, Fact.REJECTED, now, fault=fault, error=error, billed=free(job))
        case NoAnswer(fault):
            return in_doubt(job, fault, doubt, now, rules)


def accepted(job: Job, upstream_id: str, now: datetime, rules: Rules) -> Move:
    """RunComfy has the job, and says so."""
    wished = job.cancel_asked_at is not None
    wait = first_look(rules.history(job.model_id), rules.policy, rules.rng)
    due_at = now if wished else by_deadline(job, now + wait)
    after = job.accepted(upstream_id, now, due_at)
    return moved(after, Fact.ACCEPTED, now, detail=upstream_id)


def in_doubt(
    job: Job, fault: UpstreamFault, doubt: DoubtPolicy, now: datetime, rules: Rules
) -> Move:
    """Nobody knows whether it was taken. It waits for a person as long as the policy says."""
    hold = rules.policy.doubt_hold if doubt is DoubtPolicy.HOLD else timedelta()
    after = job.after(
        Fact.NO_ANSWER,
        now,
        doubt_since=now,
        due_at=by_deadline(job, now + hold),
        billed=Billed.UNKNOWN,
    )
    return moved(after, Fact.NO_ANSWER, now, fault=fault)


def doubt_overdue(job: Job, doubt: DoubtPolicy, now: datetime) -> Move:
    """The hold ran out and nobody came: send once more if the policy says so, else give up."""
    timely = job.finish_by is None or now < job.finish_by
    if doubt is DoubtPolicy.RESEND and timely and job.resends_approved == 0:
        resent = resolve(job, Resend(), POLICY, now)
        return Move(after=resent.after, entry=resent.entry, fact=resent.fact)
    error = JobError(
        "submit_in_doubt",
        "RunComfy gave no usable answer to the submit: it may have been taken and billed.",
    )
    fact = Fact.GIVEN_UP if timely else Fact.OUT_OF_TIME
    return ended(job, fact, now, error=error, billed=Billed.UNKNOWN)


def _not_sent(
    job: Job, fault: UpstreamFault, retry_after: timedelta | None, now: datetime, rules: Rules
) -> Move:
    failures = job.refused_sends + 1
    wait = max(rules.policy.resubmit.wait(failures, rules.rng), retry_after or timedelta())
    limit = start_limit(job)
    due_at = now + wait if limit is None else min(now + wait, limit)
    after = job.after(
        Fact.NOT_SENT,
        now,
        attempts=job.attempts - 1,
        refused_sends=failures,
        sent_at=None,
        doubt_since=None,
        due_at=now if job.cancel_asked_at is not None else due_at,
        billed=free(job),
    )
    return moved(after, Fact.NOT_SENT, now, fault=fault)


def lease_lost(job: Job, doubt: DoubtPolicy, now: datetime, rules: Rules) -> Move:
    """A submit whose worker gave no sign of life in time: its answer, if any, died with it."""
    fault = UpstreamFault("worker_lost", "The worker died between the intent and the answer.")
    return in_doubt(job, fault, doubt, now, rules)
