"""Jobs moved on in memory, as a worker would move them: record, timeline and news in one step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from core.jobs.job import BillingStatus, Job, Trigger
from core.jobs.timeline import TimelineEntry, TimelineKind
from core.transactions.job_update import Change, WriteResult

if TYPE_CHECKING:
    from tests.support.app import AppHarness

OUTPUT = b'{"video":"https://storage.example/out.mp4"}'


def only_job(app: AppHarness) -> Job:
    """The one job that was taken in."""
    (job,) = app.stores.memory.all_jobs()
    return job


async def apply_trigger(
    app: AppHarness,
    trigger: Trigger,
    output: bytes | None = None,
    **changes: Any,  # noqa: ANN401 - fields of the record
) -> Job:
    """Move the only job by `fact`."""
    before, now = only_job(app), app.clock.now()
    after = before.transition(trigger, now, **changes)
    entry = TimelineEntry(now, TimelineKind.TRANSITION, trigger, after.state, status=after.status)
    change = Change(before, after, entry, output=output)
    assert await app.stores.jobs.store(change) is WriteResult.STORED
    return after


async def start_run(app: AppHarness) -> Job:
    """From the queue into RunComfy's hands, in progress there."""
    now = app.clock.now()
    await apply_trigger(app, Trigger.CLAIMED, attempts=1, sent_at=now)
    await apply_trigger(app, Trigger.ACCEPTED, upstream_id="up-1", running_since=now)
    return await apply_trigger(
        app, Trigger.STILL_RUNNING, upstream_status="in_progress", upstream_running=True
    )


async def finish_run(app: AppHarness) -> Job:
    """From RunComfy's hands to the end, with a result."""
    await apply_trigger(app, Trigger.FINISHED)
    now = app.clock.now()
    return await apply_trigger(
        app, Trigger.COLLECTED, OUTPUT, finished_at=now, billed=BillingStatus.YES, next_run_at=None
    )
