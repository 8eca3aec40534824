"""What observers are told of a worker's steps: events made of records and answers. Pure."""

from collections.abc import Iterator, Mapping
from typing import Final

from core.jobs.job import Job, Trigger
from core.observability.events import Event, JobPolled, SubmitAnswered
from core.observability.job_events import change_events
from core.transactions.job_update import Change
from worker.jobs.decisions.transition import Transition
from worker.ports import (
    Accepted,
    Finished,
    Indeterminate,
    InProgress,
    NotSent,
    Rejected,
    RequestNotFound,
    StatusAnswer,
    SubmitAnswer,
)

SUBMIT_TRIGGERS: Final[Mapping[type[SubmitAnswer], Trigger]] = {
    Accepted: Trigger.ACCEPTED,
    NotSent: Trigger.NOT_SENT,
    Rejected: Trigger.REJECTED,
    Indeterminate: Trigger.NO_ANSWER,
}


def submit_answered_event(job: Job, answer: SubmitAnswer) -> SubmitAnswered:
    """What a paid submit met."""
    fault = None if isinstance(answer, Accepted) else answer.fault
    return SubmitAnswered(
        job_id=job.id,
        tenant=job.tenant,
        model_id=job.model_id,
        outcome=SUBMIT_TRIGGERS[type(answer)],
        upstream_id=answer.upstream_id if isinstance(answer, Accepted) else None,
        detail=None if fault is None else f"{fault.kind}: {fault.message}",
    )


def job_polled_event(job: Job, answer: StatusAnswer) -> JobPolled:
    """How far RunComfy says that a job is."""
    return JobPolled(job.id, job.tenant, job.model_id, _upstream_status_label(answer))


def job_updated_events(change: Change, transition: Transition) -> Iterator[Event]:
    """What a change that was stored says: the fact that moved the job, and its money."""
    return change_events(
        change,
        transition.trigger,
        transition.entry.detail if transition.entry is not None else None,
    )


def _upstream_status_label(answer: StatusAnswer) -> str:
    match answer:
        case InProgress(in_progress):
            return "running" if in_progress else "queued"
        case Finished():
            return "ended"
        case RequestNotFound():
            return "gone"
        case _:
            return "unreachable"
