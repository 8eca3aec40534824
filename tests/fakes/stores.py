"""Twins of the stores over one shared memory; `tests/contract` holds them to what Redis does.

Each method does all its work in one turn of the event loop, as a Lua script does in one of Redis.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from core.jobs.run_times import RunHistory
from tests.fakes.batches import MemoryBatchStore
from tests.fakes.jobs import MemoryJobStore
from tests.fakes.listing import MemoryListedJobs
from tests.fakes.memory import Memory
from tests.fakes.outbox import MemoryDeliveryStore, MemoryReplayStore, MemoryWebhookStore
from tests.fakes.shared import MemoryBreakerStore, MemoryCatalogueStore, MemoryPresence
from tests.fakes.tenancy import MemoryControlStore, MemoryTenantStore, MemoryUsageStore

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from core.clock import Clock


class MemoryHistoryStore:
    """Twin of `core.store.run_times.HistoryStore`."""

    def __init__(self, memory: Memory) -> None:
        """Over `memory`."""
        self._memory = memory

    async def counts(self) -> Mapping[str, int]:
        """See `HistoryStore.counts`."""
        return dict(self._memory.run_counts)

    async def load(self, models: Iterable[str]) -> Mapping[str, RunHistory]:
        """See `HistoryStore.load`."""
        return {
            model: RunHistory.of(
                timedelta(milliseconds=took) for took in self._memory.runs.get(model, ())
            )
            for model in models
        }


@dataclass(frozen=True, slots=True)
class MemoryStores:
    """One of each, over the same memory."""

    memory: Memory
    jobs: MemoryJobStore
    batches: MemoryBatchStore
    listed: MemoryListedJobs
    histories: MemoryHistoryStore
    deliveries: MemoryDeliveryStore
    tenants: MemoryTenantStore
    webhooks: MemoryWebhookStore
    replays: MemoryReplayStore
    usage: MemoryUsageStore
    controls: MemoryControlStore
    breakers: MemoryBreakerStore
    catalogue: MemoryCatalogueStore
    presence: MemoryPresence


def memory_stores(clock: Clock) -> MemoryStores:
    """Empty stores that go by `clock`."""
    memory = Memory(clock)
    return MemoryStores(
        memory=memory,
        jobs=MemoryJobStore(memory),
        batches=MemoryBatchStore(memory),
        listed=MemoryListedJobs(memory),
        histories=MemoryHistoryStore(memory),
        deliveries=MemoryDeliveryStore(memory),
        tenants=MemoryTenantStore(memory),
        webhooks=MemoryWebhookStore(memory),
        replays=MemoryReplayStore(memory),
        usage=MemoryUsageStore(memory),
        controls=MemoryControlStore(memory),
        breakers=MemoryBreakerStore(memory),
        catalogue=MemoryCatalogueStore(memory),
        presence=MemoryPresence(memory),
    )
