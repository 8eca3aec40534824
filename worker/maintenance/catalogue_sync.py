"""Copies RunComfy's model catalogue into the store."""

from datetime import timedelta

from core.clock import Clock
from core.observability.events import Emit, OperationalWarning
from core.store.interfaces import CatalogueRepository
from core.store.model_catalogue import CatalogueSnapshot
from worker.ports import CatalogueSource, Unreachable
from worker.scheduling.periodic import is_recent


class CatalogueSync:
    """Copies RunComfy's catalogue into the store when the copy there is too old."""

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

    async def run_once(self) -> None:
        """Replace the copy if it is too old. A failed or empty read keeps the old copy."""
        now = self._clock.now()
        synced_at = await self._store.synced_at()
        if synced_at is not None and is_recent(synced_at, now, self._max_age):
            return
        models = await self._source.list_models()
        if isinstance(models, Unreachable) or not models:
            detail = (
                models.fault.message if isinstance(models, Unreachable) else "It holds no model."
            )
            self._emit(OperationalWarning(code="catalogue_fetch_failed", detail=detail))
            return
        categories: bytes | Unreachable | None = await self._source.list_categories()
        if isinstance(categories, Unreachable):
            categories = (await self._store.load()).categories
        snapshot = CatalogueSnapshot(
            synced_at=now,
            models={model.model_id: model.document for model in models},
            categories=categories,
        )
        await self._store.replace(snapshot)
