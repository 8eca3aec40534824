"""Submits in doubt: what is known of each, and what a person decides."""

import asyncio
import re
from collections.abc import Sequence
from typing import Final

from core.errors import Conflict, InvalidInput, NotFound
from core.ids import may_be_id
from core.jobs.in_doubt import Attach, Resolution, Resolved, resolve
from core.jobs.job import Job
from core.observability.job_events import told
from core.store.jobs import JobView
from core.transactions.job_update import Change, Outcome
from core.transactions.notifications import announced, may_notify
from service.operator_context import Desk

MOST_TRIES: Final = 5


MOST_LISTED: Final = 1000


async def list_doubts(desk: Desk) -> Sequence[JobView]:
    """Jobs in doubt with their history, the longest first; at most 1,000."""
    jobs = await desk.jobs.doubts(MOST_LISTED)
    found = await asyncio.gather(*(desk.jobs.view(job.id) for job in jobs))
    return [view for view in found if view is not None]


async def resolve_doubt(desk: Desk, job_id: str, resolution: Resolution) -> Job:
    """Carry out what a person decided.

    Raises `NotFound`, `InvalidInput` for what can be no id of RunComfy's, and `Conflict` when the
    job is not in doubt (any more).
    """
    if isinstance(resolution, Attach) and not is_upstream_id(resolution.upstream_id):
        raise InvalidInput("An id of RunComfy's has letters, digits, _ and -, at most 128 of them.")
    for _ in range(MOST_TRIES):
        record = await desk.jobs.load(job_id) if may_be_id(job_id) else None
        if record is None:
            raise NotFound(f"There is no job {job_id}.")
        resolved = resolve(record.job, resolution, desk.actor, desk.clock.now())
        change = await _change(desk, record.job, resolved)
        match await desk.jobs.store(change):
            case Outcome.STORED:
                await _tell(desk, change, resolved)
                return resolved.after
            case Outcome.UNKNOWN:
                raise NotFound(f"There is no job {job_id}.")
            case _:
                continue
    raise Conflict("The job kept changing meanwhile; look at it again.")


async def _change(desk: Desk, before: Job, resolved: Resolved) -> Change:
    after = resolved.after
    change = Change(before, after, (resolved.entry,), ring=not after.final)
    if not may_notify(before, after):
        return change
    known = await desk.setups.marked(after.tenant)
    return announced(change, known, desk.ids, after.updated_at)


async def _tell(desk: Desk, change: Change, resolved: Resolved) -> None:
    for event in told(change, resolved.fact, resolved.entry.detail):
        desk.emit(event)
    await desk.note("doubt.resolve", change.after.id, resolved.entry.detail or "")


UPSTREAM_ID_PATTERN: Final = r"[A-Za-z0-9_-]{1,128}"


_UPSTREAM_ID: Final = re.compile(UPSTREAM_ID_PATTERN)


def is_upstream_id(text: str) -> bool:
    """Whether RunComfy could have given this id to a request (its own clients' rule)."""
    return _UPSTREAM_ID.fullmatch(text) is not None
