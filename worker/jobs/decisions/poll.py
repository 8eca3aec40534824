"""What RunComfy's answers mean for a job that it has: polls, cancels, deadlines, outages."""

from datetime import datetime, timedelta

from core.deduplication.coalescing import TIMEOUT_ERROR
from core.jobs.job import BillingStatus, CancelOutcome, FollowUp, Job, JobError, Trigger
from worker.jobs.decisions.poll_schedule import next_poll_delay
from worker.jobs.decisions.transition import (
    REACHABLE_FIELDS,
    DecisionContext,
    Reschedule,
    Transition,
    billed_if_free,
    cap_at_deadline,
    finish,
    timeline_entry,
    transition_to,
)
from worker.ports import (
    CancelAnswer,
    CancelSucceeded,
    Finished,
    InProgress,
    NotCancellable,
    RequestNotFound,
    StatusAnswer,
    Unreachable,
    UpstreamFault,
)


def expire_running(job: Job, now: datetime, cancel_answer: CancelAnswer) -> Transition:
    """The job's time is up while RunComfy has it; `asked` is what RunComfy said to a cancel.

    Unless the cancel was surely in time, the result may still be paid for: it is waited for.
    """
    if isinstance(cancel_answer, CancelSucceeded):
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


def forward_cancel(job: Job, now: datetime) -> Transition:
    """A wish to cancel that came while the submit was on its way is now RunComfy's to answer."""
    after = job.transition(
        Trigger.CANCEL_REQUESTED,
        now,
        cancel_requested_at=job.cancel_requested_at or now,
        cancel_outcome=CancelOutcome.REQUESTED,
        next_run_at=now,
    )
    return transition_to(after, Trigger.CANCEL_REQUESTED, now)


def decide_poll(
    job: Job, answer: StatusAnswer, now: datetime, context: DecisionContext
) -> Transition | Reschedule:
    """What a status answer means for a running job."""
    match answer:
        case InProgress():
            return _continue_polling(job, answer, now, context)
        case Finished(word):
            after = job.transition(
                Trigger.FINISHED,
                now,
                upstream_status=word,
                next_run_at=now + context.policy.lease,
                **REACHABLE_FIELDS,
            )
            return transition_to(after, Trigger.FINISHED, now, detail=word)
        case RequestNotFound(fault):
            return _handle_not_found(job, fault, now, context)
        case Unreachable(fault, retry_after):
            return _handle_outage(job, fault, retry_after, now, context)


def _continue_polling(
    job: Job, answer: InProgress, now: datetime, context: DecisionContext
) -> Transition | Reschedule:
    elapsed = now - (job.running_since or now)
    wait = next_poll_delay(
        elapsed, context.run_history_of(job.model_id), context.policy, context.rng
    )
    due_at = cap_at_deadline(job, now + wait)
    # A word that nobody documented says nothing about the phase: the last known one stands.
    in_progress = answer.is_running if answer.is_documented else job.upstream_running
    seen = (answer.status_word, in_progress, answer.queue_position)
    if (
        seen == (job.upstream_status, job.upstream_running, job.queue_position)
        and not job.upstream_error
    ):
        return Reschedule(due_at)
    after = job.transition(
        Trigger.STILL_RUNNING,
        now,
        upstream_status=answer.status_word,
        upstream_running=in_progress,
        queue_position=answer.queue_position,
        next_run_at=due_at,
        **REACHABLE_FIELDS,
    )
    news = job.upstream_status != answer.status_word or job.upstream_error is not None
    entry = timeline_entry(after, answer.status_word, now) if news else None
    return Transition(after=after, entry=entry, trigger=Trigger.STILL_RUNNING)


def decide_cancel(
    job: Job, answer: CancelAnswer, now: datetime, context: DecisionContext
) -> Transition | Reschedule:
    """What RunComfy says to a cancel. One whose answer was lost is asked again."""
    match answer:
        case CancelSucceeded():
            return finish(
                job,
                Trigger.CANCEL_DONE,
                now,
                billed=billed_if_free(job),
                cancel_outcome=CancelOutcome.CANCELLED,
            )
        case NotCancellable():
            after = job.transition(
                Trigger.NOT_CANCELLABLE,
                now,
                cancel_outcome=CancelOutcome.NOT_CANCELLABLE,
                next_run_at=now,
                **REACHABLE_FIELDS,
            )
            return transition_to(after, Trigger.NOT_CANCELLABLE, now)
        case RequestNotFound(fault):
            return _handle_not_found(job, fault, now, context)
        case Unreachable(fault, retry_after):
            return _handle_outage(job, fault, retry_after, now, context)


def _handle_not_found(
    job: Job, fault: UpstreamFault, now: datetime, context: DecisionContext
) -> Transition | Reschedule:
    known_for = now - (job.running_since or now)
    missed_for = now - (job.upstream_error_since or now)
    is_news = job.upstream_error != fault.kind  # another trouble may have come first
    if is_news:
        return _handle_outage(job, fault, None, now, context)
    # Time alone proves nothing: the store may have been away meanwhile, and nobody looked.
    looks = job.read_attempts + 1
    if (
        looks < context.policy.min_not_found_polls
        or min(known_for, missed_for) < context.policy.not_found_timeout
    ):
        due_at = cap_at_deadline(
            job, now + context.policy.outage_polling.delay(missed_for, context.rng)
        )
        return Transition(
            after=job.evolve(now, read_attempts=looks, next_run_at=due_at), entry=None
        )
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
) -> Transition | Reschedule:
    """An outage is shown on the job once, when it starts or changes; then it is only waited out."""
    since = job.upstream_error_since or now
    wait = max(
        context.policy.outage_polling.delay(now - since, context.rng), retry_after or timedelta()
    )
    due_at = cap_at_deadline(job, now + wait)
    if job.upstream_error == fault.kind:
        return Reschedule(due_at)
    after = job.evolve(
        now, upstream_error=fault.kind, upstream_error_since=since, next_run_at=due_at
    )
    return Transition(after=after, entry=timeline_entry(after, fault.kind, now, fault=fault))
