"""Holds the present book of models, as fresh as the worker's last sync. Knows no HTTP."""

import asyncio
from datetime import datetime, timedelta
from typing import NoReturn

from core.clock import Clock
from core.errors import StoreUnavailable
from core.observability.events import Emit, OperationalWarning, RedisDisconnected, RedisReconnected
from core.store.interfaces import CatalogueRepository
from service.models import ModelRegistry


class ModelRegistryCache:
    """One process's models. Handlers read `models`; nobody else changes it."""

    def __init__(
        self, registry: ModelRegistry, catalogue: CatalogueRepository, clock: Clock, emit: Emit
    ) -> None:
        """Begin with `models`, and look to `catalogue` for newer ones."""
        self.registry = registry
        self._catalogue = catalogue
        self._clock = clock
        self._emit = emit
        self._disconnected_at: timedelta | None = None

    async def refresh(self) -> None:
        """Take up a catalogue that was synced since. Raises `StoreUnavailable`."""
        synced_at = await self._catalogue.synced_at()
        if synced_at is None or synced_at == self.registry.synced_at:
            return
        snapshot = await self._catalogue.load()
        at: datetime = snapshot.synced_at or synced_at
        # Compiling hundreds of schemas takes longer than callers should wait.
        self.registry = await asyncio.to_thread(
            self.registry.with_catalogue, tuple(snapshot.models.values()), at
        )

    async def refresh_forever(self, interval: timedelta) -> NoReturn:
        """Refresh for ever. A store that is away is told of once, and once when it is back."""
        while True:
            try:
                await self.refresh()
            except StoreUnavailable as error:
                self._report_disconnected(error)
            except Exception as error:  # noqa: BLE001 - an outermost loop: the old book still serves
                self._emit(
                    OperationalWarning("catalogue_invalid", type(error).__name__, error=error)
                )
            else:
                self._report_reconnected()
            await self._clock.sleep(interval)

    def _report_disconnected(self, error: StoreUnavailable) -> None:
        if self._disconnected_at is None:
            self._disconnected_at = self._clock.monotonic()
            self._emit(RedisDisconnected(error.detail))

    def _report_reconnected(self) -> None:
        if self._disconnected_at is not None:
            self._emit(RedisReconnected(self._clock.monotonic() - self._disconnected_at))
            self._disconnected_at = None
