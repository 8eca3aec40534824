"""The events of a job's change: its transition and its settlement. Pure.

Services, workers and operators change jobs; all emit the events of this module.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta

from core.billing.settlement import SettlementStatus, settlement_of
from core.jobs.job import Job, JobState, Trigger
from core.money import MicroUsd
from core.observability.events import CostSaved, CostSettled, Event, JobTransitioned
from core.transactions.job_update import Change


def change_events(
    change: Change, trigger: Trigger | None, detail: str | None = None
) -> Iterator[Event]:
    """Return the events of a stored change; `trigger` None: the state has not changed."""
    if trigger is not None:
        yield _transition_event(change.before, change.after, trigger, detail)
    job = change.after
    if trigger is Trigger.LEADER_SUCCEEDED and job.cost_saved:
        yield CostSaved(job.id, job.tenant, job.model_id, job.cost_saved)
    yield from _settlement_events(change.before, job)


def handover_events(change: Change) -> Iterator[Event]:
    """Return the events of a handover: the leader's end, and the successor's transition."""
    (entry,) = change.entries
    yield from change_events(change, Trigger.HANDED_OVER, entry.detail)
    if change.successor is not None:
        new_leader = change.successor
        yield _transition_event(
            new_leader.before, new_leader.after, Trigger.TAKEN_OVER, new_leader.entry.detail
        )


def _transition_event(
    before: Job, after: Job, trigger: Trigger, detail: str | None
) -> JobTransitioned:
    return JobTransitioned(
        job_id=after.id,
        tenant=after.tenant,
        model_id=after.model_id,
        trigger=trigger,
        before=before.state,
        after=after.state,
        age=after.updated_at - after.created_at,
        upstream_id=after.upstream_id,
        detail=detail,
        run_duration=_duration_between(after.running_since, after.finished_at),
        detection_lag=_duration_between(after.upstream_finished_at, after.finished_at),
        trace=after.trace,
    )


def _settlement_events(before: Job, after: Job) -> Iterator[CostSettled]:
    previous, current = settlement_of(before), settlement_of(after)
    if current == previous or current.status is SettlementStatus.HELD:
        return
    if current.status is SettlementStatus.FREE and before.state is JobState.FOLLOWING:
        return  # a follower has no reservation that could be released
    amount = (
        current.cost if current.status is SettlementStatus.SPENT else after.estimate or MicroUsd(0)
    )
    yield CostSettled(after.id, after.tenant, after.model_id, current.status, amount)


def _duration_between(start: datetime | None, end: datetime | None) -> timedelta | None:
    return None if start is None or end is None else end - start
