"""Holds the present book of models, as fresh as the worker's last sync. Knows no HTTP."""

import asyncio
from datetime import datetime, timedelta
from typing import NoReturn

from core.clock import Clock
from core.errors import StoreUnavailable
from core.observability.events import Emit, OperationalWarning, RedisDisconnected, RedisReconnected
from service.models import Models
from service.ports import Catalogue


class ModelShelf:
    """One process's models. Handlers read `models`; nobody else changes it."""

    def __init__(self, models: Models, catalogue: Catalogue, clock: Clock, emit: Emit) -> None:
        """Begin with `models`, and look to `catalogue` for newer ones."""
        self.models = models
        self._catalogue = catalogue
        self._clock = clock
        self._emit = emit
        self._lost_at: timedelta | None = None

    async def refresh(self) -> None:
        """Take up a catalogue that was synced since. Raises `StoreUnavailable`."""
        synced_at = await self._catalogue.synced_at()
        if synced_at is None or synced_at == self.models.synced_at:
            return
        snapshot = await self._catalogue.load()
        at: datetime = snapshot.synced_at or synced_at
        # Compiling hundreds of schemas takes longer than callers should wait.
        self.models = await asyncio.to_thread(
            self.models.refreshed, tuple(snapshot.models.values()), at
        )

    async def keep_fresh(self, every: timedelta) -> NoReturn:
        """Refresh for ever. A store that is away is told of once, and once when it is back."""
        while True:
            try:
                await self.refresh()
            except StoreUnavailable as error:
                self._store_is_away(error)
            except Exception as error:  # noqa: BLE001 - an outermost loop: the old book still serves
                self._emit(
                    OperationalWarning("catalogue_invalid", type(error).__name__, error=error)
                )
            else:
                self._store_is_there()
            await self._clock.sleep(every)

    def _store_is_away(self, error: StoreUnavailable) -> None:
        if self._lost_at is None:
            self._lost_at = self._clock.monotonic()
            self._emit(RedisDisconnected(error.detail))

    def _store_is_there(self) -> None:
        if self._lost_at is not None:
            self._emit(RedisReconnected(self._clock.monotonic() - self._lost_at))
            self._lost_at = None
