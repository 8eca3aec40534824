"""Copies RunComfy's model catalogue into the store."""

import asyncio
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Final

import orjson

from core.clock import Clock
from core.models.changes import Entry, compare_catalogues
from core.observability.events import Emit, ModelChanged, OperationalWarning
from core.store.interfaces import CatalogueRepository
from core.store.model_catalogue import CatalogueSnapshot
from worker.ports import CatalogueSource, Unreachable
from worker.scheduling.periodic import is_recent

REQUEST_INTERVAL: Final = timedelta(minutes=1)
"""Between two syncs on request, of all workers together."""
RETRY_INTERVAL: Final = timedelta(seconds=15)
"""After a sync that failed."""


class ListedModels:
    """Confirms the models of the stored catalogue to the metrics, after each sync of a worker."""

    def __init__(
        self, store: CatalogueRepository, confirm: Callable[[Iterable[str]], None]
    ) -> None:
        """Call `confirm` with the ids of all models."""
        self._store = store
        self._confirm = confirm
        self._read_at: datetime | None = None

    async def refresh(self) -> None:
        """Read the ids if the catalogue was synced since."""
        synced_at = await self._store.synced_at()
        if synced_at is not None and synced_at != self._read_at:
            self._confirm(await self._store.model_ids())
            self._read_at = synced_at


class CatalogueSync:
    """Copies RunComfy's catalogue into the store when the copy there is too old.

    Also when a caller named a model that the copy lacks.
    """

    def __init__(
        self,
        source: CatalogueSource,
        store: CatalogueRepository,
        clock: Clock,
        emit: Emit,
        max_age: timedelta,
    ) -> None:
        """A copy older than `max_age` is replaced."""
        self._source = source
        self._store = store
        self._clock = clock
        self._emit = emit
        self._max_age = max_age
        self._retry_at = timedelta()

    async def run_once(self) -> None:
        """Replace the copy if it is too old. A failed or empty read keeps the old copy."""
        if self._clock.monotonic() >= self._retry_at and await self._is_due():
            self._retry_at = self._clock.monotonic() + RETRY_INTERVAL
            await self._sync()

    async def _is_due(self) -> bool:
        synced_at = await self._store.synced_at()
        if synced_at is None or not is_recent(synced_at, self._clock.now(), self._max_age):
            return True
        return await self._store.is_sync_requested() and await self._store.claim_requested_sync(
            REQUEST_INTERVAL
        )

    async def _sync(self) -> None:
        models = await self._source.list_models()
        if isinstance(models, Unreachable) or not models:
            detail = (
                models.fault.message if isinstance(models, Unreachable) else "It holds no model."
            )
            self._emit(OperationalWarning(code="catalogue_fetch_failed", detail=detail))
            return
        before = await self._store.load()
        categories: bytes | Unreachable | None = await self._source.list_categories()
        if isinstance(categories, Unreachable):
            categories = before.categories
        snapshot = CatalogueSnapshot(
            synced_at=self._clock.now(),
            models={model.model_id: model.document for model in models},
            categories=categories,
        )
        await self._store.replace(snapshot)
        await self._report_changes(before, snapshot)

    async def _report_changes(self, before: CatalogueSnapshot, after: CatalogueSnapshot) -> None:
        """Record what changed since the last sync; the first catalogue is no change."""
        if before.synced_at is None or after.synced_at is None:
            return
        changes = await asyncio.to_thread(
            compare_catalogues, *_different_entries(before, after), after.synced_at
        )
        for change in changes:
            await self._store.append_change(change)
            self._emit(ModelChanged(change.model_id, change.kind, change.subject, change.detail))


def _different_entries(
    before: CatalogueSnapshot, after: CatalogueSnapshot
) -> tuple[dict[str, Entry], dict[str, Entry]]:
    """Return the entries of both that differ, parsed; most of a catalogue stays as it is."""
    old, new = (
        {
            name: _parse_entry(document)
            for name, document in one.models.items()
            if other.models.get(name) != document
        }
        for one, other in ((before, after), (after, before))
    )
    return old, new


def _parse_entry(document: bytes) -> Entry:
    try:
        entry = orjson.loads(document)
    except orjson.JSONDecodeError:
        return {}
    return entry if isinstance(entry, dict) else {}
