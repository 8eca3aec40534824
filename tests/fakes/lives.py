"""Jobs moved on in memory, as a worker would move them: record, timeline and news in one step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from core.jobs.job import Billed, Fact, Job
from core.jobs.timeline import Note, TimelineEntry
from core.transactions.job_update import Change, Outcome

if TYPE_CHECKING:
    from tests.fakes.face import Face

OUTPUT = b'{"video":"https://storage.example/out.mp4"}'


def only_job(face: Face) -> Job:
    """The one job that was taken in."""
    (job,) = face.stores.memory.every_job()
    return job


async def step(face: Face, fact: Fact, output: bytes | None = None, **changes: Any) -> Job:  # noqa: ANN401 - fields of the record
    """Move the only job by `fact`."""
    before, now = only_job(face), face.clock.now()
    after = before.after(fact, now, **changes)
    entry = TimelineEntry(now, Note.MOVED, fact, after.state, status=after.status)
    change = Change(before, after, (entry,), output)
    assert await face.stores.jobs.store(change) is Outcome.STORED
    return after


async def run(face: Face) -> Job:
    """From the queue into RunComfy's hands, in progress there."""
    now = face.clock.now()
    await step(face, Fact.CLAIMED, attempts=1, sent_at=now)
    await step(face, Fact.ACCEPTED, upstream_id="up-1", running_since=now)
    return await step(face, Fact.STILL_RUNNING, upstream_word="in_progress", upstream_running=True)


async def succeed(face: Face) -> Job:
    """From RunComfy's hands to the end, with a result."""
    await step(face, Fact.FINISHED)
    now = face.clock.now()
    return await step(face, Fact.COLLECTED, OUTPUT, finished_at=now, billed=Billed.YES, due_at=None)
