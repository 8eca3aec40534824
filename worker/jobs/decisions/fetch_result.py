"""Decides from the result call, after the status call reported a job's end."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from core.jobs.job import BillingStatus, CancelOutcome, FollowUp, Job, JobError, Trigger
from core.jobs.refusal_costs import RUN_FAILED_CODE
from core.transactions.job_update import Change
from worker.jobs.decisions.transition import (
    REACHABLE_FIELDS,
    DecisionContext,
    Reschedule,
    billed_from_cost,
    billed_if_free,
    cost_fields,
    cost_follow_up_fields,
    finish,
    outage_delay,
    transition,
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


def decide_result(
    job: Job, answer: ResultAnswer, now: datetime, context: DecisionContext
) -> Change | Reschedule:
    """Decide from the result call. It is the authority where the status call differs."""
    match answer:
        case RunCompleted(output, cost):
            fields = _final_fields(answer, BillingStatus.YES)
            fields |= cost_follow_up_fields(cost, now, context)
            collected = finish(job, Trigger.COLLECTED, now, **fields)
            return replace(collected, output=output)
        case RunFailed(fault, cost):
            fields = _final_fields(answer, billed_from_cost(job, cost))
            fields |= cost_follow_up_fields(cost, now, context)
            error = JobError(_failure_code(fault), fault.message, fault.code)
            return finish(job, Trigger.RUN_FAILED, now, fault=fault, error=error, **fields)
        case RunCancelled(cost):
            billed = BillingStatus.YES if cost else billed_if_free(job)
            fields = _final_fields(answer, billed)
            done = CancelOutcome.CANCELLED
            return finish(job, Trigger.CANCEL_DONE, now, cancel_outcome=done, **fields)
        case InProgress(_, word):
            fault = UpstreamFault("not_finished", f"The result call still reports {word}.")
            return _retry_fetch(job, fault, None, now, context)
        case RequestNotFound(fault):
            return _retry_fetch(job, fault, None, now, context)
        case Unreachable(fault, retry_after):
            return _retry_fetch(job, fault, retry_after, now, context)


def _final_fields(
    answer: RunCompleted | RunFailed | RunCancelled, billed: BillingStatus
) -> dict[str, Any]:
    return {
        **REACHABLE_FIELDS,
        **cost_fields(billed, answer.cost),
        "upstream_finished_at": answer.times.finished_at,
        "upstream_result_status": answer.status_word,
    }


def _retry_fetch(
    job: Job,
    fault: UpstreamFault,
    retry_after: timedelta | None,
    now: datetime,
    context: DecisionContext,
) -> Change | Reschedule:
    since = job.upstream_error_since or now
    if now - since >= context.policy.result_fetch_timeout:
        return _give_up_fetch(job, fault, now, context)
    due_at = now + outage_delay(now - since, retry_after, context)
    # The record is written only when the fault changes: an outage costs one write, not one a poll.
    if job.upstream_error == fault.kind:
        return Reschedule(job, due_at)
    return transition(
        job,
        Trigger.RETRY_COLLECT,
        now,
        fault=fault,
        upstream_error=fault.kind,
        upstream_error_since=since,
        next_run_at=due_at,
    )


def _give_up_fetch(
    job: Job, fault: UpstreamFault, now: datetime, context: DecisionContext
) -> Change:
    """Fail the job, but go on waiting for its result: it is paid for."""
    return finish(
        job,
        Trigger.COLLECT_FAILED,
        now,
        fault=fault,
        error=JobError(
            "result_unavailable",
            "RunComfy finished the request, but its result could not be fetched.",
        ),
        billed=BillingStatus.UNKNOWN,
        follow_up=FollowUp.AWAIT_LATE_RESULT,
        next_run_at=now + context.policy.late_result_polling.max_delay,
    )


def _failure_code(fault: UpstreamFault) -> str:
    return "no_output" if fault.kind == "no_output" else RUN_FAILED_CODE
