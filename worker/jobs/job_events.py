"""What observers are told of a worker's steps: events made of records and answers. Pure."""

from collections.abc import Iterator, Mapping
from typing import Final

from core.jobs.job import Fact, Job
from core.observability.events import Event, JobPolled, SubmitAnswered
from core.observability.job_events import told
from core.transactions.job_update import Change
from worker.jobs.decisions.transition import Move
from worker.ports import (
    Accepted,
    Ended,
    Gone,
    NoAnswer,
    NotSent,
    Open,
    Rejected,
    StatusAnswer,
    SubmitAnswer,
)

SUBMIT_FACTS: Final[Mapping[type[SubmitAnswer], Fact]] = {
    Accepted: Fact.ACCEPTED,
    NotSent: Fact.NOT_SENT,
    Rejected: Fact.REJECTED,
    NoAnswer: Fact.NO_ANSWER,
}


def submit_answered(job: Job, answer: SubmitAnswer) -> SubmitAnswered:
    """What a paid submit met."""
    fault = None if isinstance(answer, Accepted) else answer.fault
    return SubmitAnswered(
        job_id=job.id,
        tenant=job.tenant,
        model_id=job.model_id,
        outcome=SUBMIT_FACTS[type(answer)],
        upstream_id=answer.upstream_id if isinstance(answer, Accepted) else None,
        detail=None if fault is None else f"{fault.kind}: {fault.message}",
    )


def polled(job: Job, answer: StatusAnswer) -> JobPolled:
    """How far RunComfy says that a job is."""
    return JobPolled(job.id, job.tenant, job.model_id, _word(answer))


def stored(change: Change, decided: Move) -> Iterator[Event]:
    """What a change that was stored says: the fact that moved the job, and its money."""
    return told(change, decided.fact, decided.entry.detail if decided.entry is not None else None)


def _word(answer: StatusAnswer) -> str:
    match answer:
        case Open(in_progress):
            return "running" if in_progress else "queued"
        case Ended():
            return "ended"
        case Gone():
            return "gone"
        case _:
            return "unreachable"
