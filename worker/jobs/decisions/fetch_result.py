"""What the result call means for a job that RunComfy calls finished."""

from datetime import datetime, timedelta
from typing import Any

import orjson

from core.jobs.job import BillingStatus, CancelOutcome, FollowUp, Job, JobError, Trigger
from core.money import MicroUsd
from worker.jobs.decisions.transition import (
    REACHABLE_FIELDS,
    DecisionContext,
    Reschedule,
    Transition,
    billed_from_cost,
    billed_if_free,
    cost_fields,
    cost_follow_up_fields,
    finish,
    transition_to,
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
    UpstreamTimes,
)


def decide_result(
    job: Job, answer: ResultAnswer, now: datetime, context: DecisionContext
) -> Transition | Reschedule:
    """What the result call means for a job that RunComfy calls finished.

    The result is the truth.
    """
    match answer:
        case RunCompleted(output, cost, times):
            ending = _final_fields(BillingStatus.YES, cost, times) | cost_follow_up_fields(
                cost, now, context
            )
            move = finish(job, Trigger.COLLECTED, now, **ending)
            return Transition(move.after, move.entry, move.trigger, output=orjson.dumps(output))
        case RunFailed(fault, cost, times):
            error = JobError(_failure_code(fault), fault.message, fault.code)
            ending = _final_fields(
                billed_from_cost(job, cost), cost, times
            ) | cost_follow_up_fields(cost, now, context)
            return finish(job, Trigger.RUN_FAILED, now, fault=fault, error=error, **ending)
        case RunCancelled(cost, times):
            ending = _final_fields(BillingStatus.YES if cost else billed_if_free(job), cost, times)
            done = CancelOutcome.CANCELLED
            return finish(job, Trigger.CANCEL_DONE, now, cancel_outcome=done, **ending)
        case InProgress(_, word):
            fault = UpstreamFault("disagree", f"The result still says {word}.")
            return _retry_fetch(job, fault, None, now, context)
        case RequestNotFound(fault):
            return _retry_fetch(job, fault, None, now, context)
        case Unreachable(fault, retry_after):
            return _retry_fetch(job, fault, retry_after, now, context)


def _final_fields(
    billed: BillingStatus, cost: MicroUsd | None, times: UpstreamTimes
) -> dict[str, Any]:
    return {
        **REACHABLE_FIELDS,
        **cost_fields(billed, cost),
        "upstream_finished_at": times.finished_at,
    }


def _retry_fetch(
    job: Job,
    fault: UpstreamFault,
    retry_after: timedelta | None,
    now: datetime,
    context: DecisionContext,
) -> Transition | Reschedule:
    since = job.upstream_error_since or now
    if now - since >= context.policy.result_fetch_timeout:
        error = JobError("result_unavailable", "RunComfy finished, but its result stays away.")
        return finish(
            job,
            Trigger.COLLECT_FAILED,
            now,
            fault=fault,
            error=error,
            billed=BillingStatus.UNKNOWN,
            follow_up=FollowUp.AWAIT_LATE_RESULT,
            next_run_at=now + context.policy.late_result_polling.max_delay,
        )
    wait = max(
        context.policy.outage_polling.delay(now - since, context.rng), retry_after or timedelta()
    )
    if job.upstream_error == fault.kind:
        return Reschedule(now + wait)
    after = job.transition(
        Trigger.RETRY_COLLECT,
        now,
        upstream_error=fault.kind,
        upstream_error_since=since,
        next_run_at=now + wait,
    )
    return transition_to(after, Trigger.RETRY_COLLECT, now, fault=fault)


def _failure_code(fault: UpstreamFault) -> str:
    return "no_output" if fault.kind == "no_output" else "upstream_failed"
