"""Fake of the store of files."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from core.clock import from_ms
from core.errors import Unauthenticated
from core.files.records import (
    FILE_CHECK_INTERVAL,
    UNUSED_FILE_LIFETIME,
    CountedFile,
    FileEntry,
    FileRemoval,
    FileUsage,
    StoredFile,
)
from core.jobs.job import Job
from core.page import Page
from core.quotas import QuotaPolicy
from core.store.codecs import JOB_CODEC, TENANT_CODEC
from core.store.files import DueFile
from core.store.refusals import build_limit_error
from core.tenants.windows import UTC_CALENDAR
from tests.support.memory_store.state import FileRow, MemoryState


class MemoryFileStore:
    """Fake of `core.store.files.FileStore`."""

    def __init__(self, memory: MemoryState) -> None:
        """Share `memory` with the other stores."""
        self._memory = memory

    async def add_upload(self, file: StoredFile) -> FileEntry:
        return self._add(file, is_upload=True)

    async def find_upload(self, file: StoredFile) -> FileEntry:
        return self._add(file, is_upload=True, only_known=True)

    async def add(self, file: StoredFile) -> FileEntry:
        return self._add(file, is_upload=False)

    def _add(self, file: StoredFile, *, is_upload: bool, only_known: bool = False) -> FileEntry:
        memory, now = self._memory, self._memory.clock.now()
        if self._is_gone(file.tenant):
            raise Unauthenticated
        limits, day = memory.limits_of(file.tenant), UTC_CALENDAR.day_of(now)
        key = file.tenant, f"{day:%Y%m%d}"
        uploaded = memory.uploaded_bytes.get(key, 0) + (file.bytes if is_upload else 0)
        most = limits.upload_bytes_per_day if is_upload else None
        if most is not None and uploaded > most:
            left = (UTC_CALENDAR.start_of(day + timedelta(days=1)) - now).total_seconds() * 1000
            raise build_limit_error(QuotaPolicy.UPLOAD_BYTES_DAY, left, ())
        expires_at = memory.ms_after(UNUSED_FILE_LIFETIME if is_upload else FILE_CHECK_INTERVAL)
        for row in self._rows_of(file.tenant):
            if row.file.sha256 == file.sha256:
                row.expires_at = max(row.expires_at, expires_at)
                memory.uploaded_bytes[key] = uploaded
                return _entry(row)
        memory.uploaded_bytes[key] = uploaded
        stored = sum(row.file.bytes for row in self._rows_of(file.tenant)) + file.bytes
        most = limits.storage_bytes
        if only_known or (most is not None and stored > most):
            raise build_limit_error(QuotaPolicy.STORAGE_BYTES, -1, ())
        memory.files[file.id] = FileRow(file, expires_at)
        return _entry(memory.files[file.id])

    async def load(self, file_id: str) -> FileEntry | None:
        row = self._memory.files.get(file_id)
        return None if row is None else _entry(row)

    async def list_page(self, tenant: str, cursor: str, limit: int) -> Page[FileEntry, str]:
        page = await self.list_counted(tenant, cursor, limit)
        entries = (each.entry for each in page.items)
        return Page(tuple(each for each in entries if not each.file.is_input_text), page.cursor)

    async def list_counted(self, tenant: str, cursor: str, limit: int) -> Page[CountedFile, str]:
        rows = sorted(self._rows_of(tenant), key=lambda row: row.file.id, reverse=True)
        found = [row for row in rows if not cursor or row.file.id < cursor][:limit]
        items = tuple(CountedFile(_entry(row), len(row.users)) for row in found)
        return Page(items, found[-1].file.id if len(found) == limit else None)

    async def is_user(self, job_id: str, file_id: str) -> bool:
        row = self._memory.files.get(file_id)
        return row is not None and job_id in row.users

    async def use(self, tenant: str, job_id: str, file_ids: Collection[str]) -> bool:
        rows = [self._memory.files.get(file_id) for file_id in file_ids]
        found = [row for row in rows if row is not None and row.file.tenant == tenant]
        if len(found) < len(rows):
            return False
        for row in found:
            row.users.add(job_id)
            row.expires_at = max(row.expires_at, self._memory.ms_after(FILE_CHECK_INTERVAL))
        return True

    async def remove(self, tenant: str, file_id: str) -> FileRemoval:
        row = self._memory.files.get(file_id)
        if row is None or row.file.tenant != tenant:
            return FileRemoval.NOT_FOUND
        is_owned = not self._is_gone(tenant)
        for job in self._users_of(row):
            is_output = file_id in {output.file_id for output in job.outputs}
            if not job.is_final or (is_owned and is_output):
                return FileRemoval.IN_USE
        del self._memory.files[file_id]
        return FileRemoval.REMOVED

    async def expire(self, due: DueFile) -> FileRemoval:
        row = self._memory.files.get(due.id)
        if row is None or row.file.tenant != due.tenant:
            return FileRemoval.NOT_FOUND
        if self._is_gone(due.tenant):
            return await self.remove(due.tenant, due.id)
        if row.expires_at > self._memory.now:
            return FileRemoval.IN_USE
        if self._users_of(row):
            row.expires_at = self._memory.ms_after(FILE_CHECK_INTERVAL)
            return FileRemoval.IN_USE
        del self._memory.files[due.id]
        return FileRemoval.REMOVED

    async def list_due(self, limit: int) -> Sequence[DueFile]:
        due = [
            DueFile(row.file.tenant, row.file.id)
            for row in self._memory.files.values()
            if row.expires_at <= self._memory.now or self._is_gone(row.file.tenant)
        ]
        return due[:limit]

    async def acquire_orphan_check_lock(self, worker: str, lease: timedelta) -> bool:
        return self._memory.acquire_lock("orphan_check", worker, lease)

    async def read_usage(self, tenant: str, now: datetime) -> FileUsage:
        del now
        return self._memory.file_usage(tenant)

    def _rows_of(self, tenant: str) -> Sequence[FileRow]:
        return [row for row in self._memory.files.values() if row.file.tenant == tenant]

    def _users_of(self, row: FileRow) -> Sequence[Job]:
        found = [self._memory.job(job_id) for job_id in row.users]
        return [
            JOB_CODEC.decode(job.doc)
            for job in found
            if job is not None and not (row.file.is_input_text and job.input is None)
        ]

    def _is_gone(self, tenant: str) -> bool:
        row = self._memory.tenants.get(tenant)
        return row is None or TENANT_CODEC.decode(row.doc).deleted_at is not None


def _entry(row: FileRow) -> FileEntry:
    return FileEntry(row.file, from_ms(row.expires_at))
