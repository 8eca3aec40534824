"""Decides from RunComfy's answers for a job that it has: polls, cancels, deadlines, outages."""

from datetime import datetime, timedelta

from core.deduplication.coalescing import TIMEOUT_ERROR
from core.jobs.job import BillingStatus, CancelOutcome, FollowUp, Job, JobError, Trigger
from core.transactions.job_update import Change
from worker.jobs.decisions.poll_schedule import next_poll_delay
from worker.jobs.decisions.transition import (
    REACHABLE_FIELDS,
    DecisionContext,
    Reschedule,
    annotate,
    billed_if_free,
    cap_at_deadline,
    finish,
    outage_delay,
    transition,
    upstream_entry,
)
from worker.ports import (
    CancelAnswer,
    Finished,
    InProgress,
    RequestNotFound,
    StatusAnswer,
    Unreachable,
    UpstreamFault,
)


def expire_running(job: Job, now: datetime, cancel_answer: CancelAnswer) -> Change:
    """Return the end of a job that passed its deadline while RunComfy has it.

    `cancel_answer` is RunComfy's answer to the cancel that was sent first. Unless that cancel
    succeeded, the run may still be billed: the job ends, and its result is awaited.
    """
    if cancel_answer is CancelOutcome.CANCELLED:
        return finish(
            job, Trigger.DEADLINE_EXCEEDED, now, error=TIMEOUT_ERROR, billed=billed_if_free(job)
        )
    return finish(
        job,
        Trigger.DEADLINE_EXCEEDED,
        now,
        error=TIMEOUT_ERROR,
        billed=BillingStatus.UNKNOWN,
        follow_up=FollowUp.AWAIT_LATE_RESULT,
        next_run_at=now,
    )


def forward_cancel(job: Job, now: datetime) -> Change:
    """Return the step that forwards to RunComfy a cancel that was requested during the submit."""
    return transition(
        job,
        Trigger.CANCEL_REQUESTED,
        now,
        cancel_requested_at=job.cancel_requested_at or now,
        cancel_outcome=CancelOutcome.REQUESTED,
        next_run_at=now,
    )


def decide_poll(
    job: Job, answer: StatusAnswer, now: datetime, context: DecisionContext
) -> Change | Reschedule:
    """Decide from a status answer for a running job."""
    match answer:
        case InProgress():
            return _continue_polling(job, answer, now, context)
        case Finished(word):
            return transition(
                job,
                Trigger.FINISHED,
                now,
                detail=word,
                upstream_status=word,
                next_run_at=now + context.policy.lease,
                **REACHABLE_FIELDS,
            )
        case RequestNotFound() | Unreachable():
            return _handle_no_answer(job, answer, now, context)


def _continue_polling(
    job: Job, answer: InProgress, now: datetime, context: DecisionContext
) -> Change | Reschedule:
    elapsed = now - (job.running_since or now)
    history = context.run_history_of(job.model_id)
    delay = next_poll_delay(elapsed, history, context.policy, context.rng)
    due_at = cap_at_deadline(job, now + delay)
    # An undocumented status word has no known phase: the last known one stays.
    is_running = answer.is_running if answer.is_documented else job.upstream_running
    seen = (answer.status_word, is_running, answer.queue_position)
    known = (job.upstream_status, job.upstream_running, job.queue_position)
    if seen == known and not job.upstream_error:
        return Reschedule(job, due_at)
    after = job.transition(
        Trigger.STILL_RUNNING,
        now,
        upstream_status=answer.status_word,
        upstream_running=is_running,
        queue_position=answer.queue_position,
        next_run_at=due_at,
        **REACHABLE_FIELDS,
    )
    # A queue position that moved is no line of its own: the timeline would fill with them.
    is_news = job.upstream_status != answer.status_word or job.upstream_error is not None
    entry = upstream_entry(after, answer.status_word) if is_news else None
    return Change(job, after, entry, Trigger.STILL_RUNNING)


def decide_cancel(
    job: Job, answer: CancelAnswer, now: datetime, context: DecisionContext
) -> Change | Reschedule:
    """Decide from RunComfy's answer to a cancel. A cancel without an answer is sent again."""
    match answer:
        case CancelOutcome.CANCELLED:
            return finish(
                job,
                Trigger.CANCEL_DONE,
                now,
                billed=billed_if_free(job),
                cancel_outcome=CancelOutcome.CANCELLED,
            )
        case CancelOutcome.NOT_CANCELLABLE:
            return transition(
                job,
                Trigger.NOT_CANCELLABLE,
                now,
                cancel_outcome=CancelOutcome.NOT_CANCELLABLE,
                next_run_at=now,
                **REACHABLE_FIELDS,
            )
        case RequestNotFound() | Unreachable():
            return _handle_no_answer(job, answer, now, context)


def _handle_no_answer(
    job: Job, answer: RequestNotFound | Unreachable, now: datetime, context: DecisionContext
) -> Change | Reschedule:
    if isinstance(answer, RequestNotFound):
        return _handle_not_found(job, answer.fault, now, context)
    return _handle_outage(job, answer.fault, answer.retry_after, now, context)


def _handle_not_found(
    job: Job, fault: UpstreamFault, now: datetime, context: DecisionContext
) -> Change | Reschedule:
    if job.upstream_error != fault.kind:  # the first 404, or the first after another fault
        return _handle_outage(job, fault, None, now, context)
    known_for = now - (job.running_since or now)
    missed_for = now - (job.upstream_error_since or now)
    attempts = job.read_attempts + 1
    # Elapsed time alone proves nothing: Redis may have been unavailable, and the job not polled.
    if (
        attempts < context.policy.min_not_found_polls
        or min(known_for, missed_for) < context.policy.not_found_timeout
    ):
        delay = context.policy.outage_polling.delay(missed_for, context.rng)
        due_at = cap_at_deadline(job, now + delay)
        return Change(job, job.evolve(now, read_attempts=attempts, next_run_at=due_at))
    error = JobError("upstream_lost", "RunComfy no longer knows the request.", fault.code)
    return finish(
        job, Trigger.RUN_FAILED, now, fault=fault, error=error, billed=BillingStatus.UNKNOWN
    )


def _handle_outage(
    job: Job,
    fault: UpstreamFault,
    retry_after: timedelta | None,
    now: datetime,
    context: DecisionContext,
) -> Change | Reschedule:
    """Write an outage to the record when it starts or changes; until then only poll again later."""
    since = job.upstream_error_since or now
    delay = outage_delay(now - since, retry_after, context)
    due_at = cap_at_deadline(job, now + delay)
    if job.upstream_error == fault.kind:
        return Reschedule(job, due_at)
    return annotate(
        job,
        fault.kind,
        now,
        fault=fault,
        upstream_error=fault.kind,
        upstream_error_since=since,
        next_run_at=due_at,
    )
