"""Decides for a queued job whose private source was fetched, or could not be."""

from datetime import datetime, timedelta

from core.jobs.input_parts import InputPart, first_source
from core.jobs.job import Job, JobError, Trigger, WaitingFor
from core.transactions.job_update import Change
from worker.jobs.decisions.submit import submit_deadline
from worker.jobs.decisions.transition import (
    DecisionContext,
    Reschedule,
    annotate,
    billed_if_free,
    finish,
)
from worker.ports import SourceFailed


def decide_fetched(job: Job, parts: tuple[InputPart, ...], detail: str, now: datetime) -> Change:
    """Return the step of a job whose input now has these `parts`.

    It goes on now: with its next source, or with its submit. One that waited for a source has no
    slot: it queues for one again.
    """
    is_complete = first_source(parts) is None
    waited = job.waiting_for is not None
    return annotate(
        job,
        "source_fetched",
        now,
        detail=detail,
        input_parts=parts,
        waiting_for=None if is_complete else job.waiting_for,
        next_run_at=submit_deadline(job) if is_complete and waited else now,
    )


def decide_fetch_failed(
    job: Job, failure: SourceFailed, now: datetime, context: DecisionContext
) -> Change | Reschedule:
    """Return when the source is read again, or the job's end, which costs nothing."""
    is_waiting = job.waiting_for is WaitingFor.SOURCE
    elapsed = now - job.updated_at if is_waiting else timedelta()
    if failure.is_final or elapsed >= context.policy.source_timeout:
        error = JobError("source_failed", failure.message)
        return finish(
            job,
            Trigger.INPUT_FAILED,
            now,
            detail=failure.message,
            error=error,
            billed=billed_if_free(job),
        )
    due_at = now + context.policy.source_retries.delay(elapsed, context.rng)
    due_at = min(due_at, submit_deadline(job) or due_at)
    if is_waiting:
        return Reschedule(job, due_at)
    return annotate(
        job,
        "waiting",
        now,
        detail=f"{WaitingFor.SOURCE}: {failure.message}",
        waiting_for=WaitingFor.SOURCE,
        next_run_at=due_at,
    )


def with_file(
    parts: tuple[InputPart, ...], fetched: tuple[InputPart, ...], file_id: str
) -> tuple[InputPart, ...]:
    """Return the parts of an input after those of one source were fetched as this file."""
    from_source = set(fetched)
    return tuple(part.as_file(file_id) if part in from_source else part for part in parts)
