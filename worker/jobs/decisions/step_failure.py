"""Decides after a step of a job raised an exception: a fault of the gateway, not of RunComfy."""

from datetime import datetime, timedelta
from typing import Any, Final

from core.jobs.job import BillingStatus, FollowUp, Job, JobError, JobState, Trigger
from core.transactions.job_update import Change
from worker.jobs.decisions.submit import mark_in_doubt
from worker.jobs.decisions.transition import (
    DecisionContext,
    annotate,
    billed_if_free,
    finish,
)
from worker.ports import UpstreamFault

STEP_FAILED: Final = "step_failed"
_ERROR: Final = JobError(
    "step_failed", "The gateway failed to process the request several times; see its log."
)


def decide_step_failure(job: Job, detail: str, now: datetime, context: DecisionContext) -> Change:
    """Return the change after a step of `job` raised: it runs again later, or the job ends.

    What may be paid for is never given up with the job: its result is awaited after the end.
    """
    failures = job.step_failures + 1
    if job.is_final:
        return _retry_follow_up(job, detail, now, context)
    # A job whose output is stored only waits for its links: it completes by any later step.
    if failures < context.policy.max_step_failures or job.state is JobState.ARCHIVING:
        due_at = now + context.policy.step_backoff.delay(failures, context.rng)
        return annotate(
            job, STEP_FAILED, now, detail=detail, step_failures=failures, next_run_at=due_at
        )
    if job.state is JobState.SUBMITTING:
        fault = UpstreamFault(STEP_FAILED, detail)
        return mark_in_doubt(job, fault, context.policy.doubt_policy, now, context)
    return finish(job, Trigger.STEP_FAILED, now, detail=detail, error=_ERROR, **_ending(job, now))


def _ending(job: Job, now: datetime) -> dict[str, Any]:
    if job.upstream_id is not None and job.state is not JobState.FOLLOWING:
        return {
            "billed": BillingStatus.UNKNOWN,
            "follow_up": FollowUp.AWAIT_LATE_RESULT,
            "next_run_at": now,
        }
    in_doubt = job.state is JobState.IN_DOUBT
    return {"billed": BillingStatus.UNKNOWN if in_doubt else billed_if_free(job)}


def _retry_follow_up(job: Job, detail: str, now: datetime, context: DecisionContext) -> Change:
    waited = max(now - (job.finished_at or now), timedelta())
    if waited >= context.policy.late_result_timeout:
        return annotate(job, STEP_FAILED, now, detail=detail, follow_up=None, next_run_at=None)
    due_at = now + context.policy.late_result_polling.delay(waited, context.rng)
    return annotate(
        job,
        STEP_FAILED,
        now,
        detail=detail,
        step_failures=job.step_failures + 1,
        next_run_at=due_at,
    )
