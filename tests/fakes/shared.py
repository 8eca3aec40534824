"""Twins of the stores of what all processes share: the breaker, the catalogue, signs of life."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from core.circuit_breaker import Breaker
from core.clock import from_ms, to_ms
from core.store.codecs import BREAKERS
from core.store.model_catalogue import CatalogueSnapshot
from core.store.worker_heartbeats import FORGET_AFTER, Durability
from tests.fakes.memory import Memory, Row
from tests.fakes.quotas import allowance

if TYPE_CHECKING:
    from datetime import datetime

SAFE: Final = Durability(aof=True, appendfsync="always", maxmemory_policy="noeviction")


class MemoryBreakerStore:
    """Twin of `core.store.circuit_breaker.BreakerStore`."""

    def __init__(self, memory: Memory) -> None:
        """Over `memory`."""
        self._memory = memory

    async def load(self) -> Breaker:
        """See `BreakerStore.load`."""
        row = self._memory.breaker
        return BREAKERS.read(row.doc) if row.doc else Breaker()

    async def swap(self, before: Breaker, after: Breaker) -> bool:
        """See `BreakerStore.swap`."""
        if self._memory.breaker.version != before.version:
            return False
        self._memory.breaker = Row(after.version, BREAKERS.write(after))
        return True

    async def take_submit(self) -> datetime | None:
        """See `BreakerStore.take_submit`."""
        memory, per_second = self._memory, self._memory.turns.limits.submits_per_second
        if per_second is None:
            return None
        granted, memory.submit_rate, following = allowance(
            memory.submit_rate, per_second, 1, memory.now
        )
        return None if granted else from_ms(math.ceil(following))


class MemoryCatalogueStore:
    """Twin of `core.store.model_catalogue.CatalogueStore`."""

    def __init__(self, memory: Memory) -> None:
        """Over `memory`."""
        self._memory = memory

    async def replace(self, snapshot: CatalogueSnapshot) -> None:
        """See `CatalogueStore.replace`."""
        memory = self._memory
        memory.models = dict(snapshot.models)
        memory.categories = snapshot.categories or b""
        memory.synced_at = None if snapshot.synced_at is None else to_ms(snapshot.synced_at)

    async def synced_at(self) -> datetime | None:
        """See `CatalogueStore.synced_at`."""
        stored = self._memory.synced_at
        return None if stored is None else from_ms(stored)

    async def load(self) -> CatalogueSnapshot:
        """See `CatalogueStore.load`."""
        memory = self._memory
        return CatalogueSnapshot(
            await self.synced_at(), dict(memory.models), memory.categories or None
        )


class MemoryPresence:
    """Twin of `core.store.worker_heartbeats.Presence`."""

    def __init__(self, memory: Memory) -> None:
        """Over `memory`."""
        self._memory = memory

    async def sign(self, worker: str) -> None:
        """See `Presence.sign`."""
        memory = self._memory
        memory.workers[worker] = memory.now
        oldest = to_ms(memory.clock.now() - FORGET_AFTER)
        memory.workers = {name: seen for name, seen in memory.workers.items() if seen > oldest}

    async def leave(self, worker: str) -> None:
        """See `Presence.leave`."""
        self._memory.workers.pop(worker, None)

    async def last_seen(self) -> datetime | None:
        """See `Presence.last_seen`."""
        return from_ms(max(self._memory.workers.values())) if self._memory.workers else None

    async def durability(self) -> Durability:
        """See `Presence.durability`."""
        return SAFE
