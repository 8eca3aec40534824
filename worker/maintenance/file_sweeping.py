"""Deletes files that have expired, and objects that no record names.

A worker that dies between a record and its object leaves one without the other; neither stays.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final

from core.clock import Clock
from core.files.records import (
    FILES_FOLDER,
    ORPHAN_AGE,
    FileRemoval,
    file_object_name,
    may_be_orphan,
)
from core.journal.position import StoreStatus, status_of
from core.objects.object_store import ObjectStore, StoredObject
from core.store.identity import StorePosition
from core.store.stores import Stores

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
        stores: Stores,
        clock: Clock,
        is_store_known: Callable[[], bool],
    ) -> None:
        """Nothing is read yet. `is_store_known`: whether the store was found to be complete."""
        self._worker_id = worker_id
        self._objects = objects
        self._files = stores.files
        self._tenants = stores.tenants
        self._identity = stores.identity
        self._clock = clock
        self._is_store_known = is_store_known

    async def expire_files(self) -> None:
        """Delete the files that have expired: first the record, then the content."""
        for due in await self._files.list_due(_MAX_FILES):
            if await self._files.expire(due) is FileRemoval.REMOVED:
                await self._objects.delete([file_object_name(due.tenant, due.id)])

    async def delete_orphans(self) -> None:
        """Delete old objects without a record, and what killed uploads left.

        Does nothing if a worker did so within `ORPHAN_CHECK_INTERVAL`. Objects of tenants that the
        store does not know stay: it may be another store, or an empty one. So do those whose record
        it may have forgotten, and all while it must be compared with the journal.
        """
        if not self._is_store_known():
            return
        if not await self._files.acquire_orphan_check_lock(self._worker_id, ORPHAN_CHECK_INTERVAL):
            return
        await self._objects.delete_incomplete(self._clock.now() - ORPHAN_AGE)
        position = await self._identity.load()
        if position is None:
            return
        async for batch in self._objects.list(FILES_FOLDER):
            orphans = await self._orphans(batch, position.complete_since)
            if not await self._is_still(position):
                return
            await self._objects.delete(orphans)

    async def _orphans(
        self, batch: Sequence[StoredObject], complete_since: datetime | None
    ) -> list[str]:
        now = self._clock.now()
        old = [each.name for each in batch if may_be_orphan(each.modified_at, complete_since, now)]
        found = await asyncio.gather(*map(self._is_orphan, old))
        return [name for name, is_orphan in zip(old, found, strict=True) if is_orphan]

    async def _is_still(self, before: StorePosition) -> bool:
        """Return whether the store has forgotten nothing since the records were read."""
        here = await self._identity.load(before)
        return status_of(here, before) is StoreStatus.CURRENT and self._is_store_known()

    async def _is_orphan(self, name: str) -> bool:
        tenant, _, file_id = name.removeprefix(FILES_FOLDER).partition("/")
        if await self._files.load(file_id) is not None:
            return False
        return await self._tenants.load(tenant) is not None
