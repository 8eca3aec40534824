"""The use cases of files: upload, read, list, delete."""

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from core.clock import Clock
from core.errors import (
    FileInUse,
    LimitReached,
    NotFound,
)
from core.files.records import FileEntry, FileRemoval
from core.ids import IdSource, is_valid_id
from core.objects.object_store import ObjectStore
from core.objects.received_file import NewFile, discard, keep_file, read_file
from core.page import Page
from core.quotas import QUOTA_RULES, QuotaPolicy
from core.store.interfaces import FileRepository, TenantRepository
from core.tenants.limits import Limits
from core.tenants.windows import UTC_CALENDAR
from service.errors import FilesOff, TooManyUploads


@dataclass(frozen=True, slots=True)
class UploadPolicy:
    """How many uploads one process receives at a time: each holds some megabytes."""

    max_uploads: int = 16
    max_uploads_per_tenant: int = 8
    kept_for_others: int = 4
    """Of the places, for tenants that have none: an upload may take a quarter of an hour."""

    def allows(self, uploads: int, of_tenant: int) -> bool:
        """Return whether one more may begin beside so many, of which the tenant has some."""
        kept = self.kept_for_others if of_tenant else 0
        return uploads < self.max_uploads - kept and of_tenant < self.max_uploads_per_tenant


@dataclass(frozen=True, slots=True)
class Upload:
    """The file that an upload led to; `is_new` False: the tenant had its content already."""

    entry: FileEntry
    is_new: bool


class FileService:
    """Uploaded files of tenants: records in the store, contents in the storage of objects."""

    def __init__(
        self,
        objects: ObjectStore | None,
        files: FileRepository,
        tenants: TenantRepository,
        clock: Clock,
        ids: IdSource,
        policy: UploadPolicy = UploadPolicy(),
    ) -> None:
        """`objects` None: there are no files."""
        self._objects = objects
        self._files = files
        self._tenants = tenants
        self._clock = clock
        self._ids = ids
        self._policy = policy
        self._uploads: Counter[str] = Counter()

    @property
    def objects(self) -> ObjectStore:
        """The storage. Raises `FilesOff` if there is none."""
        if self._objects is None:
            raise FilesOff
        return self._objects

    async def upload(self, tenant: str, chunks: AsyncIterator[bytes], declared: int) -> Upload:
        """Store a file from a stream. `declared` is its announced size in bytes, or 0.

        Raises `UnsupportedFile`, `BodyTooLarge`, `LimitReached`, `TooManyUploads`, `FilesOff`,
        `ObjectsUnavailable`, and what `chunks` raises: then nothing is left of it. Raises
        `StoreUnavailable`: the record may exist, and its content stays.
        """
        objects, now = self.objects, self._clock.now()
        has_room = await self._check_limits(tenant, declared)
        with self._upload_slot(tenant):
            new = NewFile(self._ids.file_id(now), tenant, now, self._ids.secret().hex())
            if not has_room:
                file = await read_file(new, chunks)
                return Upload(await self._files.find_upload(file), is_new=False)
            entry = await keep_file(objects, self._files.add_upload, new, chunks)
            return Upload(entry, is_new=entry.file.id == new.id)

    async def _check_limits(self, tenant: str, declared: int) -> bool:
        """Return whether a file can be stored; without room only a known content is accepted.

        Raises `LimitReached` if the bytes of the day are used up: then no body is read.
        """
        record = await self._tenants.load(tenant)
        limits = Limits() if record is None else record.limits
        per_day, most = limits.upload_bytes_per_day, limits.storage_bytes
        if per_day is None and most is None:
            return True
        now, wanted = self._clock.now(), max(declared, 1)
        usage = await self._files.read_usage(tenant, now)
        if per_day is not None and usage.uploaded_bytes + wanted > per_day:
            policy = QuotaPolicy.UPLOAD_BYTES_DAY
            wait = UTC_CALENDAR.start_of(UTC_CALENDAR.day_of(now) + timedelta(days=1)) - now
            raise LimitReached(QUOTA_RULES[policy].message, policy=policy, retry_after=wait)
        return most is None or usage.stored_bytes + wanted <= most

    @contextmanager
    def _upload_slot(self, tenant: str) -> Iterator[None]:
        if not self._policy.allows(self._uploads.total(), self._uploads[tenant]):
            raise TooManyUploads
        self._uploads[tenant] += 1
        try:
            yield
        finally:
            self._uploads[tenant] -= 1
            if not self._uploads[tenant]:
                del self._uploads[tenant]

    async def load(self, tenant: str, file_id: str) -> FileEntry:
        """Return a file. Raises `NotFound`, also for another tenant's, and `FilesOff`."""
        entry = await self.find(file_id)
        if entry is None or entry.file.tenant != tenant:
            raise NotFound
        return entry

    async def find(self, file_id: str) -> FileEntry | None:
        """Return a file of any tenant; None if there is none. Raises `FilesOff`."""
        _ = self.objects
        entry = await self._files.load(file_id) if is_valid_id(file_id) else None
        return None if entry is None or entry.file.is_input_text else entry

    async def list_page(self, tenant: str, cursor: str, limit: int) -> Page[FileEntry, str]:
        """Return files of a tenant, newest first. Raises `FilesOff`."""
        _ = self.objects
        return await self._files.list_page(tenant, cursor, limit)

    async def delete(self, tenant: str, file_id: str) -> None:
        """Delete a file. Raises `NotFound`, and `FileInUse`."""
        entry = await self.load(tenant, file_id)
        removed = await self._files.remove(tenant, file_id)
        if removed is FileRemoval.IN_USE:
            raise FileInUse
        if removed is not FileRemoval.REMOVED:
            raise NotFound
        await discard(self.objects, entry.file.object_name)
