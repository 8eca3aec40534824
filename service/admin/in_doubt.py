"""Submits in doubt: list them, and resolve one by an operator's decision."""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import orjson

from core.errors import Conflict, InvalidInput, NotFound
from core.ids import is_valid_id
from core.jobs.in_doubt import (
    ATTACH_REFUSED,
    Attach,
    Resolution,
    ResolutionResult,
    resolve,
)
from core.jobs.job import Job
from core.jobs.timeline import TimelineEntry
from core.observability.job_events import change_events
from core.transactions.job_update import Change, WriteResult
from core.transactions.webhook_deliveries import event_of_change, with_deliveries
from service.operator_context import AdminContext

if TYPE_CHECKING:  # the commands import this module for their help, which needs no Redis
    from core.store.jobs import JobView

MAX_TRIES: Final = 5


MAX_LISTED: Final = 1000
ATTACH_TIMEOUT: Final = timedelta(seconds=20)
"""How long an operator waits for a worker to read the status of an id at RunComfy."""
ATTACH_POLL_INTERVAL: Final = timedelta(milliseconds=250)
EXCERPT_LENGTH: Final = 80


@dataclass(frozen=True, slots=True)
class InDoubtView:
    """A job in doubt with its timeline."""

    view: "JobView"
    prompt: str | None
    """The beginning of the prompt, by which RunComfy's web history shows the request; None where
    the tenant's inputs are not kept."""


async def list_in_doubt(admin: AdminContext) -> Sequence[InDoubtView]:
    """Return jobs in doubt, the oldest first; at most 1,000."""
    jobs = await admin.stores.jobs.list_in_doubt(MAX_LISTED)
    # One after the other: an input may have megabytes.
    found = [await _load_view(admin, job) for job in jobs]
    return [view for view in found if view is not None]


async def _load_view(admin: AdminContext, job: Job) -> InDoubtView | None:
    view, submission = await asyncio.gather(
        admin.stores.jobs.load_view(job.id), admin.stores.jobs.load_submission(job)
    )
    if view is None:
        return None
    if submission is None or not submission.keeps_input:
        return InDoubtView(view, None)
    return InDoubtView(view, prompt_excerpt(submission.input))


def prompt_excerpt(text: bytes) -> str:
    """Return the first 80 characters of an input's prompt; of the whole input if it has none."""
    try:
        prompt = orjson.loads(text).get("prompt")
    except (orjson.JSONDecodeError, AttributeError):
        prompt = None
    shown = prompt if isinstance(prompt, str) else text.decode(errors="replace")
    return shown[:EXCERPT_LENGTH]


async def resolve_in_doubt(admin: AdminContext, job_id: str, resolution: Resolution) -> Job:
    """Apply an operator's decision, and return the job.

    An id is attached once RunComfy has confirmed it to a worker, unless that is forced. Raises
    `NotFound`, `InvalidInput` for a malformed RunComfy id, and `Conflict` if the job is not
    in doubt, or no longer, or if the id is another job's or RunComfy does not know it.
    """
    if not isinstance(resolution, Attach):
        return await _resolve(admin, job_id, resolution)
    if not is_upstream_id(resolution.upstream_id):
        raise InvalidInput("A RunComfy id has letters, digits, _ and -, at most 128 of them.")
    await _require_free(admin, job_id, resolution.upstream_id)
    job = await _resolve(admin, job_id, resolution)
    return job if resolution.force else await _wait_for_attach(admin, job)


async def _require_free(admin: AdminContext, job_id: str, upstream_id: str) -> None:
    holder = await admin.stores.jobs.find_by_upstream_id(upstream_id)
    if holder is not None and holder != job_id:
        raise Conflict(f"{upstream_id} is, or was, the request of job {holder}.")


async def _wait_for_attach(admin: AdminContext, requested: Job) -> Job:
    """Return the job once RunComfy has confirmed the id. Raises `Conflict` if it did not."""
    deadline = admin.clock.monotonic() + ATTACH_TIMEOUT
    while admin.clock.monotonic() < deadline:
        view = await admin.stores.jobs.load_view(requested.id)
        if view is None:
            raise NotFound(f"There is no job {requested.id}.")
        job = view.record.job
        if job.upstream_id == requested.attach_id:
            return job
        if job.attach_id != requested.attach_id:
            raise Conflict(_refusal(view.timeline) or "The job was resolved otherwise meanwhile.")
        await admin.clock.sleep(ATTACH_POLL_INTERVAL)
    raise Conflict(
        "No worker has had an answer of RunComfy's yet. The job continues with the id as soon as "
        "RunComfy confirms it; `force` attaches it now."
    )


def _refusal(timeline: Sequence[TimelineEntry]) -> str | None:
    if not timeline or timeline[-1].code != ATTACH_REFUSED:
        return None
    return f"{timeline[-1].detail} Check the id; `force` attaches it all the same."


async def _resolve(admin: AdminContext, job_id: str, resolution: Resolution) -> Job:
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
            case WriteResult.UPSTREAM_ID_TAKEN:
                raise Conflict(f"{resolved.after.upstream_id} is, or was, another job's request.")
            case _:
                continue
    raise Conflict("The job changed too often meanwhile; read it again.")


async def _build_change(admin: AdminContext, before: Job, resolved: ResolutionResult) -> Change:
    after = resolved.after
    change = Change(
        before,
        after,
        resolved.entry,
        resolved.trigger,
        wake_worker=not after.is_final,
        if_upstream_id_free=after.upstream_id is not None,
    )
    event = event_of_change(before, after)
    if event is None:
        return change
    config = await admin.stores.webhook_configs.load_versioned(after.tenant)
    return with_deliveries(change, event, config, after.updated_at)


async def _emit_resolution(admin: AdminContext, change: Change, resolved: ResolutionResult) -> None:
    for event in change_events(change):
        admin.emit(event)
    await admin.record_action("doubt.resolve", change.after.id, resolved.entry.detail or "")


UPSTREAM_ID_PATTERN: Final = r"[A-Za-z0-9_-]{1,128}"


_UPSTREAM_ID: Final = re.compile(UPSTREAM_ID_PATTERN)


def is_upstream_id(text: str) -> bool:
    """Return whether `text` is a well-formed RunComfy request id, by its own clients' rule."""
    return _UPSTREAM_ID.fullmatch(text) is not None
