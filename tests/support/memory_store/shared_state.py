"""The fakes of what all processes share: circuit breaker, catalogue, worker heartbeats."""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from core.clock import MILLISECOND, from_ms, to_ms
from core.models.changes import ModelChange
from core.models.pins import ModelPin
from core.retention import HEARTBEAT_RETENTION
from core.store.codecs import CIRCUIT_BREAKER_CODEC
from core.store.model_catalogue import CatalogueSnapshot
from core.store.worker_heartbeats import Durability
from core.upstream.circuit_breaker import CircuitBreaker
from core.upstream.circuits import ACCOUNT, BALANCE, Circuits, model_circuit
from tests.support.memory_store.quotas import allowance
from tests.support.memory_store.state import MemoryState

SAFE_DURABILITY: Final = Durability(aof=True, appendfsync="always", maxmemory_policy="noeviction")


class MemoryCircuitBreakerStore:
    """Fake of `core.store.circuit_breaker.CircuitBreakerStore`."""

    def __init__(self, memory: MemoryState) -> None:
        """Share `memory` with the other stores."""
        self._memory = memory

    async def load(self, model_id: str) -> Circuits:
        stored = await self.load_all()
        names = ACCOUNT, BALANCE, model_circuit(model_id)
        return Circuits(model_id, *(stored.get(name, CircuitBreaker()) for name in names))

    async def load_all(self) -> Mapping[str, CircuitBreaker]:
        rows = self._memory.circuit_breakers
        return {name: CIRCUIT_BREAKER_CODEC.decode(doc) for name, doc in rows.items()}

    async def compare_and_set(
        self, name: str, before: CircuitBreaker, after: CircuitBreaker
    ) -> bool:
        stored = (await self.load_all()).get(name, CircuitBreaker())
        if stored.version != before.version:
            return False
        if after.is_pristine:
            self._memory.circuit_breakers.pop(name, None)
        else:
            self._memory.circuit_breakers[name] = CIRCUIT_BREAKER_CODEC.encode(after)
        return True

    async def take_submit_token(self) -> datetime | None:
        memory, per_second = self._memory, self._memory.fair_queue.limits.submits_per_second
        if per_second is None:
            return None
        granted, memory.submit_rate, following = allowance(
            memory.submit_rate, per_second, 1, memory.now
        )
        return None if granted else from_ms(math.ceil(following))


class MemoryCatalogueStore:
    """Fake of `core.store.model_catalogue.CatalogueStore`."""

    def __init__(self, memory: MemoryState) -> None:
        """Share `memory` with the other stores."""
        self._memory = memory

    async def replace(self, snapshot: CatalogueSnapshot) -> None:
        memory = self._memory
        memory.models = dict(snapshot.models)
        memory.categories = snapshot.categories or b""
        memory.synced_at = None if snapshot.synced_at is None else to_ms(snapshot.synced_at)

    async def synced_at(self) -> datetime | None:
        stored = self._memory.synced_at
        return None if stored is None else from_ms(stored)

    async def append_change(self, change: ModelChange) -> None:
        self._memory.model_changes.append(change)

    async def list_changes(self, limit: int) -> Sequence[ModelChange]:
        return self._memory.model_changes[::-1][:limit]

    async def model_ids(self) -> frozenset[str]:
        return frozenset(self._memory.models)

    async def request_sync(self, now: datetime) -> None:
        self._memory.sync_requested_at = to_ms(now)

    async def is_sync_requested(self) -> bool:
        requested_at = self._memory.sync_requested_at
        return requested_at is not None and requested_at >= (self._memory.synced_at or 0)

    async def claim_requested_sync(self, interval: timedelta) -> bool:
        memory = self._memory
        if memory.sync_claim_ends_at > memory.now:
            return False
        memory.sync_claim_ends_at = memory.now + interval // MILLISECOND
        return True

    async def load(self) -> CatalogueSnapshot:
        memory = self._memory
        return CatalogueSnapshot(
            await self.synced_at(), dict(memory.models), memory.categories or None
        )


class MemoryModelPinStore:
    """Fake of `core.store.model_pins.ModelPinStore`."""

    def __init__(self, memory: MemoryState) -> None:
        """Share `memory` with the other stores."""
        self._memory = memory

    async def put(self, pin: ModelPin) -> None:
        self._memory.model_pins[pin.model_id, pin.tenant] = pin

    async def remove(self, tenant: str, model_id: str) -> bool:
        return self._memory.model_pins.pop((model_id, tenant), None) is not None

    async def list_all(self) -> Sequence[ModelPin]:
        return [pin for _, pin in sorted(self._memory.model_pins.items())]


class MemoryWorkerHeartbeats:
    """Fake of `core.store.worker_heartbeats.WorkerHeartbeats`."""

    def __init__(self, memory: MemoryState) -> None:
        """Share `memory` with the other stores."""
        self._memory = memory

    async def record(self, worker: str) -> None:
        memory = self._memory
        memory.workers[worker] = memory.now
        oldest = to_ms(memory.clock.now() - HEARTBEAT_RETENTION)
        memory.workers = {name: seen for name, seen in memory.workers.items() if seen > oldest}

    async def remove(self, worker: str) -> None:
        self._memory.workers.pop(worker, None)

    async def last_seen(self) -> datetime | None:
        return from_ms(max(self._memory.workers.values())) if self._memory.workers else None

    async def load_durability(self) -> Durability:
        return SAFE_DURABILITY
