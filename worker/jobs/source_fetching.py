"""Fetches the private sources of a queued job: each becomes a file of its tenant.

Done before the submit, without one of its slots, and one source a step: a slow one keeps no paid
submit waiting, and what was fetched is not fetched again.
"""

from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Final

import orjson

from core.clock import Clock
from core.errors import CallerError, ObjectsUnavailable, Unauthenticated
from core.files.records import StoredFile
from core.ids import IdSource
from core.jobs.input_parts import InputPart, PartKind, first_source
from core.jobs.job import Job
from core.objects.media_type import FileKind
from core.objects.object_store import ObjectStore
from core.objects.received_file import FileBounds, NewFile, keep_file
from core.observability.events import FileReceived
from core.observability.outcomes import FileOrigin, FileOutcome
from core.store.interfaces import FileRepository
from core.store.stores import Stores
from worker.jobs.decisions import submit
from worker.jobs.decisions.fetch_source import decide_fetch_failed, decide_fetched, with_file
from worker.jobs.decisions.transition import DecisionContext
from worker.jobs.job_lease import JobLease
from worker.jobs.job_writer import JobWriter
from worker.ports import SourceFailed, SourceReader

STORAGE_RETRY_DELAY: Final = timedelta(seconds=5)
"""When a job runs again whose files could not be read or written."""
FETCH_SLOT_DELAY: Final = timedelta(seconds=1)
"""When a job runs again that found too many fetches in this worker."""
_OFF: Final = "This worker has no private sources: GATEWAY_FILES__FETCH_FROM, GATEWAY_OBJECTS__URL."


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """How many fetches one worker makes at a time: each holds some megabytes."""

    max_fetches: int = 8
    max_fetches_per_tenant: int = 4


@dataclass(frozen=True, slots=True)
class SourceKeeper:
    """Keeps what is at a private source as a file of the job's tenant."""

    objects: ObjectStore
    files: FileRepository
    reader: SourceReader
    clock: Clock
    ids: IdSource

    async def keep(self, job: Job, part: InputPart, url: str) -> StoredFile:
        """Return the file, which this job uses. Raises `SourceFailed` and `ObjectsUnavailable`."""
        now = self.clock.now()
        new = NewFile(self.ids.file_id(now), job.tenant, now, self.ids.secret().hex())
        try:
            async with self.reader.open(url) as chunks:
                bounds = FileBounds(part.max_bytes, partial(_check_kind, part))
                entry = await keep_file(self.objects, self.files.add, new, chunks, bounds)
        except Unauthenticated as error:
            raise SourceFailed("The tenant was deleted.", is_final=True) from error
        except CallerError as error:
            raise SourceFailed(f"A private source: {error.detail}", is_final=True) from error
        if not await self.files.use(job.tenant, job.id, [entry.file.id]):
            raise SourceFailed("The file of a private source was deleted.")
        return entry.file


def _check_kind(part: InputPart, kind: FileKind) -> None:
    """Raise `SourceFailed` for what the field does not take, before it is read to its end."""
    if part.media_types and kind.media_type not in part.media_types:
        message = f"A private source is {kind.media_type}, which its field does not take."
        raise SourceFailed(message, is_final=True)


class SourceFetcher:
    """The step of a queued job that names a private source."""

    def __init__(
        self,
        stores: Stores,
        keeper: SourceKeeper | None,
        writer: JobWriter,
        context: DecisionContext,
        limits: FetchLimits = FetchLimits(),
    ) -> None:
        """`keeper` None: this worker fetches nothing, and such jobs fail."""
        self._jobs = stores.jobs
        self._keeper = keeper
        self._writer = writer
        self._clock = writer.clock
        self._context = context
        self._limits = limits
        self._lease = JobLease(stores.jobs, writer.clock, context.policy)
        self._fetches: Counter[str] = Counter()

    async def fetch(self, job: Job) -> Job | None:
        """Fetch the first private source; return the job if it can go on now."""
        ended = submit.end_before_submit(job, self._clock.now())
        if ended is not None:
            return await self._writer.apply(ended)
        held = submit.hold(job, self._clock.now())
        if held is not None:
            await self._writer.apply(held)
            return None
        if not self._has_slot(job.tenant):
            await self._jobs.reschedule(job, self._clock.now() + FETCH_SLOT_DELAY)
            return None
        self._fetches[job.tenant] += 1
        try:
            async with self._lease.hold(job):
                return await self._fetch_first(job)
        finally:
            self._fetches[job.tenant] -= 1
            self._fetches += Counter()

    def _has_slot(self, tenant: str) -> bool:
        return (
            self._fetches.total() < self._limits.max_fetches
            and self._fetches[tenant] < self._limits.max_fetches_per_tenant
        )

    async def _fetch_first(self, job: Job) -> Job | None:
        part, submission = first_source(job.input_parts), await self._jobs.load_submission(job)
        if part is None or submission is None:
            return None
        name, started_at = submission.input[part.start : part.end], self._clock.monotonic()
        try:
            file = await self._keep(job, part, orjson.loads(name))
        except ObjectsUnavailable as error:
            self._emit(job, started_at, FileOutcome.STORAGE_FAILED, detail=error.operator_detail)
            await self._jobs.reschedule(job, self._clock.now() + STORAGE_RETRY_DELAY)
            return None
        except SourceFailed as failure:
            outcome = FileOutcome.REFUSED if failure.is_final else FileOutcome.BROKEN_OFF
            self._emit(job, started_at, outcome, detail=failure.message)
            change = decide_fetch_failed(job, failure, self._clock.now(), self._context)
            return await self._writer.apply(change)
        self._emit(job, started_at, FileOutcome.STORED, file.bytes)
        same = tuple(
            each
            for each in job.input_parts
            if each.kind is PartKind.SOURCE and submission.input[each.start : each.end] == name
        )
        parts = with_file(job.input_parts, same, file.id)
        fetched = decide_fetched(job, parts, file.id, self._clock.now())
        return await self._writer.apply(fetched)

    async def _keep(self, job: Job, part: InputPart, url: str) -> StoredFile:
        if self._keeper is None:
            raise SourceFailed(_OFF, is_final=True)
        return await self._keeper.keep(job, part, url)

    def _emit(
        self,
        job: Job,
        started_at: timedelta,
        outcome: FileOutcome,
        size: int = 0,
        detail: str | None = None,
    ) -> None:
        duration = self._clock.monotonic() - started_at
        self._writer.emit(
            FileReceived(job.tenant, FileOrigin.SOURCE, outcome, size, duration, job.id, detail)
        )
