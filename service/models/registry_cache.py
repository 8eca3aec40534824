"""Caches the model registry, and refreshes it after each catalogue sync of a worker."""

import asyncio
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Final, NoReturn

from core.clock import Clock
from core.errors import StoreUnavailable
from core.observability.events import Emit, OperationalWarning, RedisDisconnected, RedisReconnected
from core.store.stores import Stores
from service.models import ModelRegistry
from service.models.tenant_aliases import TenantAliases

_MISS_INTERVAL: Final = timedelta(seconds=1)
"""Between two refreshes for models that are not listed: anybody can name such models."""


class ModelRegistryCache:
    """One process's registry: handlers read `registry`, which only this class replaces."""

    def __init__(
        self,
        registry: ModelRegistry,
        stores: Stores,
        clock: Clock,
        emit: Emit,
        on_refresh: Callable[[Iterable[str]], None] = lambda _: None,
    ) -> None:
        """Start with `registry`; newer models, pins and tenants' aliases come from `stores`.

        `on_refresh` is called with the ids of each new registry.
        """
        self.registry = registry
        self._catalogue = stores.catalogue
        self._clock = clock
        self._emit = emit
        self._pins = stores.model_pins
        self._aliases = TenantAliases(stores.tenants, clock)
        self._reported_conflicts: set[str] = set()
        self._on_refresh = on_refresh
        self._disconnected_at: timedelta | None = None
        self._missed_at: timedelta | None = None

    async def for_tenant(self, tenant: str) -> ModelRegistry:
        """Return the registry with the tenant's own aliases. Raises `StoreUnavailable`."""
        return self.registry.with_aliases(await self._aliases.of(tenant))

    async def covering(self, model_ids: Iterable[str], tenant: str) -> ModelRegistry:
        """Return the tenant's registry; refreshed first if it does not list one of these models.

        If that does not help, a sync is requested of the workers: RunComfy may have added the model
        since. Raises `StoreUnavailable`. Call it for authenticated callers only.
        """
        wanted = tuple(model_ids)
        now, models = self._clock.monotonic(), await self.for_tenant(tenant)
        if all(map(models.lists, wanted)):
            return models
        if self._missed_at is None or now - self._missed_at >= _MISS_INTERVAL:
            self._missed_at = now
            await self.refresh()
            self._aliases.forget(tenant)
            models = await self.for_tenant(tenant)
            if not all(map(models.lists, wanted)):
                await self._catalogue.request_sync(self._clock.now())
        return models

    async def refresh(self) -> None:
        """Load the pins, and the catalogue if it was synced since. Raises `StoreUnavailable`."""
        await self._refresh_catalogue()
        pins = tuple(await self._pins.list_all())
        if pins != self.registry.pins:
            self.registry = self.registry.with_pins(pins, self._clock.now())
        self._report_conflicts()

    def _report_conflicts(self) -> None:
        """Warn of each pinned model that RunComfy has changed, once."""
        found = {
            conflict.describe() for conflict in self.registry.pin_conflicts.values() if conflict
        }
        for text in sorted(found - self._reported_conflicts):
            self._emit(OperationalWarning("pinned_model_changed", text))
        self._reported_conflicts = found

    async def _refresh_catalogue(self) -> None:
        synced_at = await self._catalogue.synced_at()
        if synced_at is None or synced_at == self.registry.synced_at:
            return
        snapshot = await self._catalogue.load()
        at: datetime = snapshot.synced_at or synced_at
        # Compiling hundreds of schemas would block the event loop for a second.
        self.registry = await asyncio.to_thread(
            self.registry.with_catalogue, tuple(snapshot.models.values()), at
        )
        self._on_refresh(self.registry.by_id)

    async def refresh_forever(self, interval: timedelta) -> NoReturn:
        """Refresh periodically. An outage of Redis is reported once, and once when it ends."""
        while True:
            try:
                await self.refresh()
            except StoreUnavailable as error:
                self._report_disconnected(error)
            except Exception as error:  # noqa: BLE001 - an outermost loop: the old registry still serves
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
