"""Submits in doubt: list them, and resolve one by an operator's decision."""

import asyncio
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from core.errors import Conflict, InvalidInput, NotFound
from core.ids import is_valid_id
from core.jobs.in_doubt import Attach, Resolution, ResolutionResult, resolve
from core.jobs.job import Job
from core.observability.job_events import change_events
from core.transactions.job_update import Change, WriteResult
from core.transactions.notifications import needs_endpoints, with_deliveries
from service.operator_context import AdminContext

if TYPE_CHECKING:  # the commands import this module for their help, which needs no Redis
    from core.store.jobs import JobView

MAX_TRIES: Final = 5


MAX_LISTED: Final = 1000


async def list_in_doubt(admin: AdminContext) -> Sequence["JobView"]:
    """Return jobs in doubt with their timelines, the oldest first; at most 1,000."""
    jobs = await admin.stores.jobs.list_in_doubt(MAX_LISTED)
    found = await asyncio.gather(*(admin.stores.jobs.load_view(job.id) for job in jobs))
    return [view for view in found if view is not None]


async def resolve_in_doubt(admin: AdminContext, job_id: str, resolution: Resolution) -> Job:
    """Apply an operator's decision, and return the job.

    Raises `NotFound`, `InvalidInput` for a malformed RunComfy id, and `Conflict` if the job is not
    in doubt, or no longer.
    """
    if isinstance(resolution, Attach) and not is_upstream_id(resolution.upstream_id):
        raise InvalidInput("A RunComfy id has letters, digits, _ and -, at most 128 of them.")
    for _ in range(MAX_TRIES):
        record = await admin.stores.jobs.load(job_id) if is_valid_id(job_id) else None
        if record is None:
            raise NotFound(f"There is no job {job_id}.")
        resolved = resolve(record.job, resolution, admin.actor, admin.clock.now())
        change = await _build_change(admin, record.job, resolved)
        match await admin.stores.jobs.store(change):
            case WriteResult.STORED:
                await _emit_resolution(admin, change, resolved)
                return resolved.after
            case WriteResult.NOT_FOUND:
                raise NotFound(f"There is no job {job_id}.")
            case _:
                continue
    raise Conflict("The job changed too often meanwhile; read it again.")


async def _build_change(admin: AdminContext, before: Job, resolved: ResolutionResult) -> Change:
    after = resolved.after
    change = Change(before, after, resolved.entry, resolved.trigger, wake_worker=not after.is_final)
    if not needs_endpoints(before, after):
        return change
    config = await admin.stores.webhook_configs.load_versioned(after.tenant)
    return with_deliveries(change, config, after.updated_at)


async def _emit_resolution(admin: AdminContext, change: Change, resolved: ResolutionResult) -> None:
    for event in change_events(change):
        admin.emit(event)
    await admin.record_action("doubt.resolve", change.after.id, resolved.entry.detail or "")


UPSTREAM_ID_PATTERN: Final = r"[A-Za-z0-9_-]{1,128}"


_UPSTREAM_ID: Final = re.compile(UPSTREAM_ID_PATTERN)


def is_upstream_id(text: str) -> bool:
    """Return whether `text` is a well-formed RunComfy request id, by its own clients' rule."""
    return _UPSTREAM_ID.fullmatch(text) is not None
