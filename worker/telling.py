"""What observers are told of a job's steps: events made of records and answers. Pure."""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Final

from core.changes import Change
from core.events import CostSaved, CostSettled, Event, JobMoved, JobPolled, SubmitAnswered
from core.jobs import Fact, Job
from core.ledger import Verdict, standing
from core.money import MicroUsd
from worker.decisions.moves import Move
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
        fact=SUBMIT_FACTS[type(answer)],
        upstream_id=answer.upstream_id if isinstance(answer, Accepted) else None,
        detail=None if fault is None else f"{fault.kind}: {fault.message}",
    )


def polled(job: Job, answer: StatusAnswer) -> JobPolled:
    """How far RunComfy says that a job is."""
    return JobPolled(job.id, job.tenant, job.model_id, _word(answer))


def stored(change: Change, decided: Move) -> Iterator[Event]:
    """What a change that was stored says: the fact that moved the job, and its money."""
    if decided.fact is not None:
        yield _moved(change, decided, decided.fact)
    job, shared = change.after, decided.fact is Fact.SHARED
    if shared and job.saved:
        yield CostSaved(job.id, job.tenant, job.model_id, job.saved)
    before, now = standing(change.before), standing(change.after)
    if now != before and now.verdict is not Verdict.HELD:
        amount = now.cost if now.verdict is Verdict.SPENT else job.estimate or MicroUsd(0)
        yield CostSettled(job.id, job.tenant, job.model_id, now.verdict, amount)


def handed_on(change: Change) -> Iterator[Event]:
    """What a handover says: how the one job ended, and that the other goes on with its work."""
    (entry,) = change.entries
    yield from stored(change, Move(change.after, entry, Fact.HANDED_ON))
    if change.heir is not None:
        heir = change.heir
        taken = Change(before=heir.before, after=heir.after)
        yield _moved(taken, Move(heir.after, heir.entry), Fact.INHERITED)


def _moved(change: Change, decided: Move, fact: Fact) -> JobMoved:
    after = decided.after
    return JobMoved(
        job_id=after.id,
        tenant=after.tenant,
        model_id=after.model_id,
        fact=fact,
        before=change.before.state,
        after=after.state,
        age=after.updated_at - after.created_at,
        upstream_id=after.upstream_id,
        detail=decided.entry.detail if decided.entry is not None else None,
        ran=_span(after.running_since, after.finished_at),
        detected_after=_span(after.upstream_finished_at, after.finished_at),
        trace=after.trace,
    )


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


def _span(start: datetime | None, end: datetime | None) -> timedelta | None:
    return None if start is None or end is None else end - start
