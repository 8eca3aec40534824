"""Keeps the outputs of jobs: from RunComfy's media hosts into the storage, in bounded memory.

What remains to be kept is part of the job's record. A worker that dies loses its lease; another one
begins again with the outputs that are not kept yet.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Final

from core.archive import ArchivedOutput, ArchiveError, find_outputs
from core.errors import (
    BodyTooLarge,
    GatewayError,
    LimitReached,
    ObjectsUnavailable,
    StoreUnavailable,
    Unauthenticated,
    UnsupportedFile,
)
from core.files.records import FileEntry, StoredFile
from core.ids import IdSource
from core.jobs.job import Job, JobRecord
from core.objects.media_type import FileKind
from core.objects.object_store import ObjectStore
from core.objects.received_file import FileBounds, NewFile, keep_file
from core.observability.events import OutputArchived, OutputNotArchived
from core.store.interfaces import FileRepository
from core.store.stores import Stores
from core.tenants.tenant import Tenant
from core.transactions.job_update import Change, WriteResult
from worker.jobs.archive_start import find_source, load_tenant, share
from worker.jobs.decisions.archive import ArchiveContext, decide_archive, decide_fault
from worker.jobs.job_writer import JobWriter
from worker.ports import Media, MediaSource, MediaUnavailable
from worker.scheduling.step_failures import is_own_fault

ARCHIVE_LEASE: Final = timedelta(seconds=30)
RENEW_INTERVAL: Final = timedelta(seconds=8)
"""Three tries fit into one lease."""
TRANSFER_MEMORY: Final = 64 * 2**20
"""What all transfers of a worker hold of contents at most, together."""
_MIN_TIMES_GONE: Final = 6
"""So many times an output must be gone before that is believed: it may be visible late."""
_MAX_WRITES: Final = 5
_NO_ROOM: Final = "There is no room for its bytes yet."
_ANY_TYPE: Final = frozenset({"", "application/octet-stream", "binary/octet-stream"})

_REASONS: Final[tuple[tuple[type[GatewayError], ArchiveError], ...]] = (
    (UnsupportedFile, ArchiveError.UNSUPPORTED),
    (BodyTooLarge, ArchiveError.TOO_LARGE),
    (LimitReached, ArchiveError.LIMIT),
    (ObjectsUnavailable, ArchiveError.STORAGE),
    (Unauthenticated, ArchiveError.EXPIRED),  # the tenant was deleted
)


class Archiver:
    """Keeps the outputs of one job at a time; call it for many jobs concurrently."""

    def __init__(
        self,
        stores: Stores,
        objects: ObjectStore,
        source: MediaSource,
        writer: JobWriter,
        ids: IdSource,
        context: ArchiveContext,
    ) -> None:
        """Nothing is fetched yet."""
        self._stores = stores
        self._objects = objects
        self._source = source
        self._writer = writer
        self._clock = writer.clock
        self._emit = writer.emit
        self._ids = ids
        self._context = context
        self._transfers = asyncio.Semaphore(
            max(1, TRANSFER_MEMORY // (objects.write_buffer_bytes or TRANSFER_MEMORY))
        )

    async def claim(self, limit: int) -> Sequence[Job]:
        """Lease jobs whose outputs are to be kept now."""
        return await self._stores.jobs.claim_archives(ARCHIVE_LEASE, limit)

    async def keep(self, job: Job) -> None:
        """Make one attempt to keep what is not kept yet, and store what became of it.

        Raises `StoreUnavailable`; the job is claimed again when its lease ends.
        """
        record = await self._stores.jobs.load(job.id)
        if record is None or record.job.archive_due_at is None:
            return
        async with self._renewed_lease(job.id):
            try:
                await self._attempt(record)
            except Exception as error:
                if is_own_fault(error):
                    # It waits as after any failure: immediately, it would fetch everything again.
                    await self._store(record, partial(decide_fault, context=self._context))
                raise

    async def _attempt(self, record: JobRecord) -> None:
        tenant = await load_tenant(self._stores, record.job.tenant)
        source = await find_source(self._stores, record.job)
        if source is not None and source.archive_due_at is not None:
            due_at = self._clock.now() + self._context.policy.leader_delay
            await self._stores.jobs.postpone_archive(record.job.id, due_at)
            return
        if source is not None and await share(self._stores, record.job, source):
            outputs = source.outputs
        else:
            outputs = tuple(await self._keep_all(record, tenant))
        decide = partial(decide_archive, outputs=outputs, tenant=tenant, context=self._context)
        await self._store(record, decide)

    async def _keep_all(self, record: JobRecord, tenant: Tenant | None) -> Sequence[ArchivedOutput]:
        known = {each.source_url: each for each in record.job.outputs}
        outputs = [known.get(each.source_url, each) for each in find_outputs(record.output or b"")]
        return [
            each if each.is_settled else await self._keep_one(record.job, each, tenant)
            for each in outputs
        ]

    async def _keep_one(
        self, job: Job, output: ArchivedOutput, tenant: Tenant | None
    ) -> ArchivedOutput:
        if not await self._may_fit(output, tenant):
            return self._not_kept(job, output, ArchiveError.LIMIT, _NO_ROOM)
        adding = _Adding(self._stores.files)
        try:
            async with self._transfers:
                began = self._clock.monotonic()
                async with self._source.fetch(output.source_url) as media:
                    file = await self._write(job, media, adding)
        except MediaUnavailable as error:
            return self._not_kept(job, output, error.reason, str(error))
        except StoreUnavailable:
            raise
        except GatewayError as error:
            reason = next((ours for theirs, ours in _REASONS if isinstance(error, theirs)), None)
            if reason is None:
                raise
            detail = getattr(error, "operator_detail", error.detail)
            size = adding.bytes if reason is ArchiveError.LIMIT else None
            return self._not_kept(job, replace(output, bytes=size), reason, detail)
        duration = self._clock.monotonic() - began
        self._emit(OutputArchived(job.id, job.tenant, job.model_id, file.bytes, duration))
        return _kept(output, file)

    async def _write(self, job: Job, media: Media, adding: "_Adding") -> StoredFile:
        now = self._clock.now()
        bounds = FileBounds(self._context.policy.max_bytes, lambda kind: _check_kind(media, kind))
        if media.declared_type.startswith("text/"):
            # The page of something in front of the host: the output itself may come later.
            raise MediaUnavailable(ArchiveError.MISMATCH, f"is {media.declared_type}")
        new = NewFile(self._ids.file_id(now), job.tenant, now, self._ids.secret().hex())
        entry = await keep_file(self._objects, adding.add, new, media.chunks, bounds)
        if not await self._stores.files.use(job.tenant, job.id, {entry.file.id}):
            raise ObjectsUnavailable(operator_detail="the file was deleted meanwhile")
        return entry.file

    async def _may_fit(self, output: ArchivedOutput, tenant: Tenant | None) -> bool:
        """Return whether an output for which there was no room may fit by now."""
        if output.error is not ArchiveError.LIMIT or output.bytes is None or tenant is None:
            return True
        limit = tenant.limits.storage_bytes
        used = await self._stores.files.read_usage(tenant.name, self._clock.now())
        return limit is None or used.stored_bytes + output.bytes <= limit

    def _not_kept(
        self, job: Job, output: ArchivedOutput, reason: ArchiveError, detail: str
    ) -> ArchivedOutput:
        if reason is ArchiveError.GONE:
            output = replace(output, times_gone=output.times_gone + 1)
            if output.times_gone < _MIN_TIMES_GONE:
                reason = ArchiveError.UNREACHABLE
        self._emit(OutputNotArchived(job.id, job.tenant, job.model_id, reason, detail))
        return replace(output, error=reason)

    async def _store(self, record: JobRecord, decide: Callable[..., Change]) -> None:
        """Store what became of the outputs in the record as it is by now."""
        for _ in range(_MAX_WRITES):
            job = record.job
            if job.archive_due_at is None:
                return
            change = decide(record, now=self._clock.now())
            if await self._writer.write(change) is not WriteResult.CONFLICT:
                return
            current = await self._stores.jobs.load(job.id)
            if current is None:
                return
            record = current

    @asynccontextmanager
    async def _renewed_lease(self, job_id: str) -> AsyncIterator[None]:
        """Let no other worker claim the job while this one works on it."""
        renewing = asyncio.create_task(self._renew(job_id))
        try:
            yield
        finally:
            renewing.cancel()
            with suppress(asyncio.CancelledError):
                await renewing

    async def _renew(self, job_id: str) -> None:
        while True:
            await self._clock.sleep(RENEW_INTERVAL)
            with suppress(StoreUnavailable):
                until = self._clock.now() + ARCHIVE_LEASE
                await self._stores.jobs.postpone_archive(job_id, until)


class _Adding:
    """Adds the record of one output, and remembers its size if there is no room for it.

    It is then not fetched again before there is.
    """

    def __init__(self, files: FileRepository) -> None:
        self._files = files
        self.bytes: int | None = None

    async def add(self, file: StoredFile) -> FileEntry:
        self.bytes = file.bytes
        return await self._files.add(file)


def _check_kind(media: Media, kind: FileKind) -> None:
    """Raise `MediaUnavailable` for content of another kind than its host declares."""
    declared, _, _ = media.declared_type.partition("/")
    found, _, _ = kind.media_type.partition("/")
    if media.declared_type not in _ANY_TYPE and declared != found:
        raise MediaUnavailable(
            ArchiveError.MISMATCH, f"is declared as {declared}, and has {kind.media_type}"
        )


def _kept(output: ArchivedOutput, file: StoredFile) -> ArchivedOutput:
    return ArchivedOutput(
        field=output.field,
        source_url=output.source_url,
        file_id=file.id,
        media_type=file.media_type,
        bytes=file.bytes,
        sha256=file.sha256,
        width=file.width,
        height=file.height,
        seconds=file.seconds,
    )
