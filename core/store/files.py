"""Records of uploaded files. A file's content is an object (`core.objects`)."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from core.clock import MILLISECOND, Clock, from_ms, to_ms
from core.errors import CallerError, Unauthenticated
from core.files.records import (
    FILE_CHECK_INTERVAL,
    UNUSED_FILE_LIFETIME,
    CountedFile,
    FileEntry,
    FileRemoval,
    FileUsage,
    StoredFile,
)
from core.page import Page
from core.store import keys
from core.store.booking import day_text
from core.store.client import Argument, RedisClient
from core.store.codecs import FILE_CODEC
from core.store.refusals import build_limit_error
from core.store.scripts import LuaScripts
from core.tenants.windows import UTC_CALENDAR


@dataclass(frozen=True, slots=True)
class DueFile:
    """A file that may have to be deleted."""

    tenant: str
    id: str


class FileStore:
    """Records of files in Redis."""

    def __init__(self, client: RedisClient, scripts: LuaScripts, clock: Clock) -> None:
        """Send commands through `client`; `clock` gives every instant that a script compares."""
        self._client = client
        self._scripts = scripts
        self._clock = clock

    async def add_upload(self, file: StoredFile) -> FileEntry:
        """As `add`, for a file that a caller uploaded: it counts as uploaded today.

        Raises `LimitReached` (`upload_bytes_per_day`) too.
        """
        return await self._add(file, is_upload=True)

    async def find_upload(self, file: StoredFile) -> FileEntry:
        """As `add_upload`, for a file whose content was not kept: return one of the same content.

        Raises `LimitReached` (`storage_bytes`) if the tenant has none.
        """
        return await self._add(file, is_upload=True, only_known=True)

    async def add(self, file: StoredFile) -> FileEntry:
        """Record a complete file; return the tenant's own one if it has the same content.

        It is kept for `FILE_CHECK_INTERVAL` unless a job uses it by then. Raises `LimitReached`
        (`storage_bytes`), and `Unauthenticated` if the tenant was deleted meanwhile.
        """
        return await self._add(file, is_upload=False)

    async def _add(
        self, file: StoredFile, *, is_upload: bool, only_known: bool = False
    ) -> FileEntry:
        now, tenant = self._clock.now(), file.tenant
        lifetime = UNUSED_FILE_LIFETIME if is_upload else FILE_CHECK_INTERVAL
        day = UTC_CALENDAR.day_of(now)
        answer = await self._scripts.call(
            "add_file",
            [
                keys.TENANTS,
                keys.tenant(tenant),
                keys.file(file.id),
                keys.FILES,
                keys.tenant_files(tenant),
                keys.file_contents(tenant),
                keys.file_usage(tenant),
            ],
            [
                tenant,
                file.id,
                file.sha256,
                file.bytes,
                FILE_CODEC.encode(file),
                to_ms(now + lifetime),
                day_text(day),
                (UTC_CALENDAR.start_of(day + timedelta(days=1)) - now) // MILLISECOND,
                int(file.is_input_text),
                int(is_upload),
                int(only_known),
            ],
        )
        if answer[0] in {b"refused", b"tenant_gone"}:
            raise _refusal(answer)
        return _entry(answer[1], answer[2])

    async def load(self, file_id: str) -> FileEntry | None:
        """Return a file of any tenant; None if there is none."""
        stored = await self._client.execute("HMGET", keys.file(file_id), "doc", "expires_at")
        return None if stored[0] is None else _entry(*stored)

    async def list_page(self, tenant: str, cursor: str, limit: int) -> Page[FileEntry, str]:
        """Return files of a tenant, newest first, after the file with the id `cursor`; '': all.

        A page may have fewer than `limit` and still a cursor: parts of inputs are left out.
        """
        page = await self.list_counted(tenant, cursor, limit)
        entries = (each.entry for each in page.items)
        return Page(tuple(each for each in entries if not each.file.is_input_text), page.cursor)

    async def list_counted(self, tenant: str, cursor: str, limit: int) -> Page[CountedFile, str]:
        """As `list_page`, with the parts of inputs, and how many jobs use each."""
        found = await self._scripts.call("list_files", [keys.tenant_files(tenant)], [cursor, limit])
        items = tuple(
            CountedFile(_entry(document, expires_at), int(users))
            for document, expires_at, users in found
        )
        return Page(items, items[-1].entry.file.id if len(items) == limit else None)

    async def is_user(self, job_id: str, file_id: str) -> bool:
        """Return whether a job is registered as user of a file."""
        return bool(await self._client.execute("SISMEMBER", keys.file_users(file_id), job_id))

    async def use(self, tenant: str, job_id: str, file_ids: Collection[str]) -> bool:
        """Keep files while this job exists. False, and nothing is changed, if one is missing.

        The job need not exist yet: it has `FILE_CHECK_INTERVAL` to be admitted.
        """
        kept_until = self._clock.now() + FILE_CHECK_INTERVAL
        arguments: list[Argument] = [tenant, job_id, to_ms(kept_until), *file_ids]
        return bool(await self._scripts.call("use_files", [keys.FILES], arguments))

    async def remove(self, tenant: str, file_id: str) -> FileRemoval:
        """Remove a record on demand, unless an open job uses it, or it is the output of a job."""
        return await self._remove(tenant, file_id, only_expired=False)

    async def expire(self, due: DueFile) -> FileRemoval:
        """Remove a record that has expired and that no job uses."""
        return await self._remove(due.tenant, due.id, only_expired=True)

    async def _remove(self, tenant: str, file_id: str, *, only_expired: bool) -> FileRemoval:
        now = self._clock.now()
        removed = await self._scripts.call(
            "remove_file",
            [
                keys.TENANTS,
                keys.file(file_id),
                keys.file_users(file_id),
                keys.FILES,
                keys.tenant_files(tenant),
                keys.file_contents(tenant),
                keys.file_usage(tenant),
            ],
            [
                tenant,
                file_id,
                to_ms(now),
                int(only_expired),
                to_ms(now + FILE_CHECK_INTERVAL),
            ],
        )
        return FileRemoval(removed.decode())

    async def list_due(self, limit: int) -> Sequence[DueFile]:
        """Return files that may have to be deleted by now, the first ones first."""
        now = to_ms(self._clock.now())
        command = ("ZRANGE", keys.FILES, "-inf", now, "BYSCORE", "LIMIT", 0, limit)
        ids = [each.decode() for each in await self._client.execute(*command)]
        return [DueFile((await self._tenant_of(each)) or "", each) for each in ids]

    async def acquire_orphan_check_lock(self, worker: str, lease: timedelta) -> bool:
        """Return whether this worker may delete orphans: none did within the last `lease`."""
        return await self._scripts.acquire_lock(keys.ORPHAN_CHECK_LOCK, worker, lease)

    async def _tenant_of(self, file_id: str) -> str | None:
        name: Any = await self._client.execute("HGET", keys.file(file_id), "tenant")
        return None if name is None else str(name.decode())

    async def read_usage(self, tenant: str, now: datetime) -> FileUsage:
        """Return what a tenant's files take."""
        return await load_file_usage(self._client, tenant, now)


async def load_file_usage(client: RedisClient, tenant: str, now: datetime) -> FileUsage:
    """Return what a tenant's files take at this time."""
    fields = ("bytes", "day", "day_bytes")
    stored, day, uploaded = await client.execute("HMGET", keys.file_usage(tenant), *fields)
    is_today = day is not None and day.decode() == day_text(UTC_CALENDAR.day_of(now))
    return FileUsage(int(stored or 0), int(uploaded) if is_today else 0)


def _entry(document: bytes, expires_at: bytes) -> FileEntry:
    return FileEntry(FILE_CODEC.decode(document), from_ms(int(expires_at)))


def _refusal(answer: Sequence[Any]) -> CallerError:
    if answer[0] == b"tenant_gone":
        return Unauthenticated()
    return build_limit_error(answer[1].decode(), float(answer[2]), ())
