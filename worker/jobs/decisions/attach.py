"""Decides whether a job in doubt continues under the id that an operator named. Pure."""

from dataclasses import replace
from datetime import datetime

from core.jobs.in_doubt import ATTACH_REFUSED, attach
from core.jobs.job import Job, Trigger
from core.transactions.job_update import Change
from worker.jobs.decisions.transition import (
    DecisionContext,
    Reschedule,
    annotate,
    cap_at_deadline,
    outage_delay,
    record_transition,
)
from worker.ports import Finished, InProgress, RequestNotFound, StatusAnswer, Unreachable


def decide_attach(
    job: Job, upstream_id: str, answer: StatusAnswer, now: datetime, context: DecisionContext
) -> Change | Reschedule:
    """Decide from RunComfy's answer about `upstream_id`, the job's `attach_id`.

    Only an answer that knows the id attaches it. Without one, it is polled again as long as
    the job would have been held.
    """
    match answer:
        case InProgress() | Finished():
            after = attach(job, upstream_id, now)
            change = record_transition(job, after, Trigger.ACCEPTED, detail=upstream_id)
            return replace(change, if_upstream_id_free=True)
        case RequestNotFound():
            reason = f"RunComfy does not know {upstream_id}."
            return refuse_attach(job, reason, now, context)
        case Unreachable(fault, retry_after):
            waited = now - job.updated_at
            if waited >= context.policy.doubt_hold:
                return refuse_attach(job, f"RunComfy did not answer: {fault.kind}", now, context)
            return Reschedule(job, now + outage_delay(waited, retry_after, context))


def refuse_attach(job: Job, reason: str, now: datetime, context: DecisionContext) -> Change:
    """Return the change that leaves the job in doubt, held for an operator as before."""
    held_until = cap_at_deadline(job, now + context.policy.doubt_hold)
    return annotate(job, ATTACH_REFUSED, now, detail=reason, attach_id=None, next_run_at=held_until)


def hold_again(job: Job, now: datetime, context: DecisionContext) -> Change:
    """Return the change that holds a job for an operator who has undone an attached id."""
    held_until = cap_at_deadline(job, now + context.policy.doubt_hold)
    return Change(job, job.evolve(now, in_doubt_since=now, next_run_at=held_until))
