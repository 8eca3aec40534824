"""Deletes files that have expired, and objects that no record names.

A worker that dies between a record and its object leaves one without the other; neither stays.
"""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from core.clock import Clock
from core.files import FILES_FOLDER, ORPHAN_AGE, FileRemoval, file_object_name
from core.objects.object_store import ObjectStore, StoredObject
from core.store.interfaces import FileRepository, TenantRepository

SWEEP_INTERVAL: Final = timedelta(minutes=1)
ORPHAN_CHECK_ATTEMPT_INTERVAL: Final = timedelta(minutes=30)
"""How often each worker tries to delete orphans."""
ORPHAN_CHECK_INTERVAL: Final = timedelta(hours=6)
"""How often one of them does: a bucket charges for a list of all objects."""
_MAX_FILES: Final = 500
"""That one run expires."""


class FileSweeper:
    """Deletes what no request needs any more. Any number of workers may do it at the same time."""

    def __init__(
        self,
        worker_id: str,
        objects: ObjectStore,
        files: FileRepository,
        tenants: TenantRepository,
        clock: Clock,
    ) -> None:
        """Nothing is read yet."""
        self._worker_id = worker_id
        self._objects = objects
        self._files = files
        self._tenants = tenants
        self._clock = clock

    async def expire_files(self) -> None:
        """Delete the files that have expired: first the record, then the content."""
        for due in await self._files.list_due(_MAX_FILES):
            if await self._files.expire(due) is FileRemoval.REMOVED:
                await self._objects.delete([file_object_name(due.tenant, due.id)])

    async def delete_orphans(self) -> None:
        """Delete old objects without a record, and what killed uploads left.

        Does nothing if a worker did so within `ORPHAN_CHECK_INTERVAL`. Objects of tenants that the
        store does not know stay: it may be another store, or an empty one.
        """
        if not await self._files.acquire_orphan_check_lock(self._worker_id, ORPHAN_CHECK_INTERVAL):
            return
        await self._objects.delete_incomplete(self._clock.now() - ORPHAN_AGE)
        async for batch in self._objects.list(FILES_FOLDER):
            await self._objects.delete(await self._orphans(batch))

    async def _orphans(self, batch: Sequence[StoredObject]) -> list[str]:
        limit = self._clock.now() - ORPHAN_AGE
        old = [each.name for each in batch if each.modified_at < limit]
        found = await asyncio.gather(*map(self._is_orphan, old))
        return [name for name, is_orphan in zip(old, found, strict=True) if is_orphan]

    async def _is_orphan(self, name: str) -> bool:
        tenant, _, file_id = name.removeprefix(FILES_FOLDER).partition("/")
        if await self._files.load(file_id) is not None:
            return False
        return await self._tenants.load(tenant) is not None
