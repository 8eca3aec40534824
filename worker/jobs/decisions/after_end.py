"""What is still learnt about a job that has ended: its cost, a result that came late."""

from datetime import datetime

import orjson

from core.jobs.job import BillingStatus, FollowUp, Job
from worker.jobs.decisions.transition import (
    DecisionContext,
    Reschedule,
    Transition,
    billed_from_cost,
    billed_if_free,
    cost_fields,
    cost_follow_up_fields,
    timeline_entry,
)
from worker.ports import (
    InProgress,
    RequestNotFound,
    ResultAnswer,
    RunCancelled,
    RunCompleted,
    RunFailed,
    Unreachable,
)


def finish_notification(job: Job, now: datetime) -> Transition:
    """The callbacks of a job that was finished when it came are written with this step."""
    return Transition(after=job.evolve(now, follow_up=None, next_run_at=None), entry=None)


def decide_cost_read(
    job: Job, answer: ResultAnswer, now: datetime, context: DecisionContext
) -> Transition:
    """What a later look at the result says about a cost that was absent at the end."""
    if isinstance(answer, RunCompleted | RunFailed | RunCancelled) and answer.cost is not None:
        billed = (
            BillingStatus.YES
            if isinstance(answer, RunCompleted)
            else billed_from_cost(job, answer.cost)
        )
        after = job.evolve(
            now,
            follow_up=None,
            next_run_at=None,
            read_attempts=0,
            **cost_fields(billed, answer.cost),
        )
        return Transition(after=after, entry=timeline_entry(after, "cost_read", now))
    tries = job.read_attempts + 1
    waits = context.policy.cost_read_delays
    if tries >= len(waits):
        after = job.evolve(now, follow_up=None, next_run_at=None, read_attempts=tries)
        return Transition(after=after, entry=timeline_entry(after, "cost_unknown", now))
    return Transition(
        after=job.evolve(now, read_attempts=tries, next_run_at=now + waits[tries]), entry=None
    )


def decide_late_result(
    job: Job, answer: ResultAnswer, now: datetime, context: DecisionContext
) -> Transition | Reschedule:
    """What a look after the end says about a result that may still come, paid for as it is."""
    match answer:
        case RunCompleted(output, cost, times):
            after = job.evolve(
                now,
                late=True,
                upstream_finished_at=times.finished_at,
                **(
                    {"follow_up": None, "next_run_at": None}
                    | cost_follow_up_fields(cost, now, context)
                ),
                **cost_fields(BillingStatus.YES, cost),
            )
            entry = timeline_entry(after, "late_result", now)
            return Transition(after=after, entry=entry, output=orjson.dumps(output))
        case RunFailed(fault, cost, _):
            after = job.evolve(
                now,
                follow_up=None,
                next_run_at=None,
                **cost_fields(billed_from_cost(job, cost), cost),
            )
            return Transition(
                after=after, entry=timeline_entry(after, "late_failure", now, fault=fault)
            )
        case RunCancelled(cost, _):
            billed = BillingStatus.YES if cost else billed_if_free(job)
            after = job.evolve(now, follow_up=None, next_run_at=None, **cost_fields(billed, cost))
            return Transition(after=after, entry=timeline_entry(after, "late_cancel", now))
        case InProgress() | RequestNotFound() | Unreachable():
            waited = now - (job.finished_at or now)
            if waited < context.policy.late_result_timeout:
                return Reschedule(
                    now + context.policy.late_result_polling.delay(waited, context.rng)
                )
            after = job.evolve(now, follow_up=None, next_run_at=None)
            return Transition(after=after, entry=timeline_entry(after, "late_watch_ended", now))


def record_second_acceptance(job: Job, upstream_id: str, now: datetime) -> Transition:
    """RunComfy accepted a submit that the job can no longer take: its id is kept in the timeline.

    When the job ended without any (its doubt was given up), what it brings is waited for.
    """
    if not job.is_final or job.upstream_id is not None:
        after = job.evolve(now)
    else:
        after = job.evolve(
            now,
            upstream_id=upstream_id,
            follow_up=FollowUp.AWAIT_LATE_RESULT,
            next_run_at=now,
            billed=BillingStatus.UNKNOWN,
        )
    return Transition(
        after=after, entry=timeline_entry(after, "second_acceptance", now, detail=upstream_id)
    )
