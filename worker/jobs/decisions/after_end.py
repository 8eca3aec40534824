"""Decides what still changes in a job that has ended: its cost, or a result that came late."""

from dataclasses import replace
from datetime import datetime
from typing import Any

from core.jobs.job import BillingStatus, FollowUp, Job
from core.transactions.job_update import Change
from worker.jobs.decisions.transition import (
    DecisionContext,
    Reschedule,
    annotate,
    billed_from_cost,
    billed_if_free,
    cost_fields,
    cost_follow_up_fields,
)
from worker.ports import (
    InProgress,
    RequestNotFound,
    ResultAnswer,
    RunCancelled,
    RunCompleted,
    RunFailed,
    Unreachable,
    UpstreamFault,
)

_DONE: dict[str, Any] = {"follow_up": None, "next_run_at": None}


def finish_notification(job: Job, now: datetime) -> Change:
    """Return the change with which the deliveries of a job that began finished are written.

    A cache hit is final when it is admitted; admission makes no deliveries.
    """
    return Change(job, job.evolve(now, **_DONE))


def decide_cost_read(
    job: Job, answer: ResultAnswer, now: datetime, context: DecisionContext
) -> Change:
    """Decide from a later read of the result, for a cost that was absent at the end."""
    if isinstance(answer, RunCompleted | RunFailed | RunCancelled) and answer.cost is not None:
        completed = isinstance(answer, RunCompleted)
        billed = BillingStatus.YES if completed else billed_from_cost(job, answer.cost)
        fields = _DONE | cost_fields(billed, answer.cost)
        return annotate(job, "cost_read", now, read_attempts=0, **fields)
    attempts, delays = job.read_attempts + 1, context.policy.cost_read_delays
    if attempts >= len(delays):
        return annotate(job, "cost_unknown", now, read_attempts=attempts, **_DONE)
    due_at = now + delays[attempts]
    return Change(job, job.evolve(now, read_attempts=attempts, next_run_at=due_at))


def decide_late_result(
    job: Job, answer: ResultAnswer, now: datetime, context: DecisionContext
) -> Change | Reschedule:
    """Decide from a read of the result after the end: it may be paid for, and may still come."""
    match answer:
        case RunCompleted(output, cost, times, word):
            fields = _DONE | cost_follow_up_fields(cost, now, context)
            fields |= cost_fields(BillingStatus.YES, cost)
            fields |= {"upstream_finished_at": times.finished_at, "upstream_result_status": word}
            change = annotate(job, "late_result", now, late=True, **fields)
            return replace(change, output=output)
        case RunFailed(fault, cost):
            fields = _DONE | cost_fields(billed_from_cost(job, cost), cost)
            return annotate(job, "late_failure", now, fault=fault, **fields)
        case RunCancelled(cost):
            billed = BillingStatus.YES if cost else billed_if_free(job)
            return annotate(job, "late_cancel", now, **_DONE, **cost_fields(billed, cost))
        case InProgress() | RequestNotFound() | Unreachable():
            return _wait_for_late_result(job, now, context)


def _wait_for_late_result(job: Job, now: datetime, context: DecisionContext) -> Change | Reschedule:
    waited = now - (job.finished_at or now)
    if waited >= context.policy.late_result_timeout:
        return annotate(job, "late_watch_ended", now, **_DONE)
    return Reschedule(job, now + context.policy.late_result_polling.delay(waited, context.rng))


def record_unanswered_submit(job: Job, fault: UpstreamFault, now: datetime) -> Change:
    """Return the change of a job that ended as free although a submit may have been paid for."""
    return annotate(job, "no_answer", now, fault=fault, billed=BillingStatus.UNKNOWN)


def record_second_acceptance(job: Job, upstream_id: str, now: datetime) -> Change:
    """Return the change that keeps the id of a submit that the job can no longer take.

    A job that ended without an id (its doubt was given up) then waits for the result of this one.
    """
    fields: dict[str, Any] = {}
    if job.is_final and job.upstream_id is None:
        fields = {
            "upstream_id": upstream_id,
            "follow_up": FollowUp.AWAIT_LATE_RESULT,
            "next_run_at": now,
            "billed": BillingStatus.UNKNOWN,
        }
    change = annotate(job, "second_acceptance", now, detail=upstream_id, **fields)
    return replace(change, second_upstream_id=upstream_id)
