"""Builds the events of a job write: its transition and its money. Pure.

The service, the workers and operators all write jobs, and emit the same events for it.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta

from core.billing.settlement import SettlementStatus, settlement_of
from core.jobs.job import Job, JobState, Trigger
from core.money import MicroUsd
from core.observability.events import CostSaved, CostSettled, Event, JobTransitioned
from core.transactions.job_update import Change


def change_events(change: Change) -> Iterator[Event]:
    """Return the events of a change that was stored, in the order in which they happened."""
    job, detail = change.after, change.entry.detail if change.entry is not None else None
    if change.trigger is not None:
        yield _transition_event(change.before, job, change.trigger, detail)
    if change.trigger is Trigger.LEADER_SUCCEEDED and job.cost_saved:
        yield CostSaved(job.id, job.tenant, job.model_id, job.cost_saved)
    yield from _settlement_events(change.before, job)
    if change.successor is not None:
        taken = change.successor
        yield _transition_event(taken.before, taken.after, Trigger.TAKEN_OVER, taken.entry.detail)


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
        labels=after.labels or None,
    )


def _settlement_events(before: Job, after: Job) -> Iterator[CostSettled]:
    if not after.is_final:  # an open job's reservation is held
        return
    was, now = settlement_of(before), settlement_of(after)
    if now == was or now.status is SettlementStatus.HELD:
        return
    if now.status is SettlementStatus.FREE and before.state is JobState.FOLLOWING:
        return  # a follower reserves nothing, so that nothing is released
    amount = now.cost if now.status is SettlementStatus.SPENT else after.estimate or MicroUsd(0)
    labels = after.labels or None
    yield CostSettled(after.id, after.tenant, after.model_id, now.status, amount, labels)


def _duration_between(start: datetime | None, end: datetime | None) -> timedelta | None:
    return None if start is None or end is None else end - start
