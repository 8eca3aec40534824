"""What observers are told of a job's change: the fact that moved it, and its money. Pure.

Services, workers and operators change jobs, and tell of it alike.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta

from core.billing.settlement import Verdict, standing
from core.jobs.job import Fact, Job, JobState
from core.money import MicroUsd
from core.observability.events import CostSaved, CostSettled, Event, JobTransitioned
from core.transactions.job_update import Change


def told(change: Change, fact: Fact | None, detail: str | None = None) -> Iterator[Event]:
    """What a change that was stored says. `fact` None: the job stays where it was."""
    if fact is not None:
        yield _moved(change.before, change.after, fact, detail)
    job = change.after
    if fact is Fact.SHARED and job.saved:
        yield CostSaved(job.id, job.tenant, job.model_id, job.saved)
    yield from _settled(change.before, job)


def told_of_handover(change: Change) -> Iterator[Event]:
    """What a handover says: how the one job ended, and that the other goes on with its work."""
    (entry,) = change.entries
    yield from told(change, Fact.HANDED_ON, entry.detail)
    if change.heir is not None:
        heir = change.heir
        yield _moved(heir.before, heir.after, Fact.INHERITED, heir.entry.detail)


def _moved(before: Job, after: Job, fact: Fact, detail: str | None) -> JobTransitioned:
    return JobTransitioned(
        job_id=after.id,
        tenant=after.tenant,
        model_id=after.model_id,
        trigger=fact,
        before=before.state,
        after=after.state,
        age=after.updated_at - after.created_at,
        upstream_id=after.upstream_id,
        detail=detail,
        run_duration=_span(after.running_since, after.finished_at),
        detection_lag=_span(after.upstream_finished_at, after.finished_at),
        trace=after.trace,
    )


def _settled(before: Job, after: Job) -> Iterator[CostSettled]:
    was, now = standing(before), standing(after)
    if now == was or now.verdict is Verdict.HELD:
        return
    if now.verdict is Verdict.FREE and before.state is JobState.FOLLOWING:
        return  # it had reserved nothing that could be given back
    amount = now.cost if now.verdict is Verdict.SPENT else after.estimate or MicroUsd(0)
    yield CostSettled(after.id, after.tenant, after.model_id, now.verdict, amount)


def _span(start: datetime | None, end: datetime | None) -> timedelta | None:
    return None if start is None or end is None else end - start
