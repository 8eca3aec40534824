"""Fakes of the stores over one shared state; `tests/contract` compares them with Redis.

Each method does its work without an await, as a Lua script is one step of Redis.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from core.clock import Clock
from core.jobs.refusal_costs import RefusalCosts
from core.jobs.run_times import RunHistory
from core.store.stores import Stores
from tests.support.memory_store.audit import MemoryAuditLogStore
from tests.support.memory_store.batches import MemoryBatchStore
from tests.support.memory_store.budget_thresholds import MemoryBudgetThresholdStore
from tests.support.memory_store.console_sessions import MemoryConsoleSessionStore
from tests.support.memory_store.files import MemoryFileStore
from tests.support.memory_store.identity import MemoryStoreIdentity
from tests.support.memory_store.job_index import MemoryJobIndex
from tests.support.memory_store.jobs import MemoryJobStore
from tests.support.memory_store.operators import MemoryOperatorStore
from tests.support.memory_store.shared_state import (
    MemoryCatalogueStore,
    MemoryCircuitBreakerStore,
    MemoryModelPinStore,
    MemoryWorkerHeartbeats,
)
from tests.support.memory_store.state import MemoryState
from tests.support.memory_store.tenants import (
    MemoryAdminStore,
    MemoryTenantStore,
)
from tests.support.memory_store.usage_history import MemoryUsageHistoryStore
from tests.support.memory_store.webhooks import (
    MemoryDeliveryStore,
    MemoryReplayStore,
    MemoryWebhookConfigStore,
)


class MemoryRunTimeStore:
    """Fake of `core.store.run_times.RunTimeStore`."""

    def __init__(self, memory: MemoryState) -> None:
        """Share `memory` with the other stores."""
        self._memory = memory

    async def load_counts(self) -> Mapping[str, int]:
        return dict(self._memory.run_counts)

    async def load_refusal_costs(self) -> Mapping[str, RefusalCosts]:
        return dict(self._memory.refusal_costs)

    async def load(self, models: Iterable[str]) -> Mapping[str, RunHistory]:
        return {
            model: RunHistory.from_newest_first(
                timedelta(milliseconds=took) for took in self._memory.run_times.get(model, ())
            )
            for model in models
        }


@dataclass(frozen=True, slots=True)
class MemoryStores(Stores):
    """One store of each kind, over the same memory."""

    memory: MemoryState


def memory_stores(clock: Clock) -> MemoryStores:
    """Empty stores with the time of `clock`."""
    memory = MemoryState(clock)
    return MemoryStores(
        memory=memory,
        jobs=MemoryJobStore(memory),
        batches=MemoryBatchStore(memory),
        budget_thresholds=MemoryBudgetThresholdStore(memory),
        job_index=MemoryJobIndex(memory),
        run_times=MemoryRunTimeStore(memory),
        deliveries=MemoryDeliveryStore(memory),
        tenants=MemoryTenantStore(memory),
        webhook_configs=MemoryWebhookConfigStore(memory),
        replays=MemoryReplayStore(memory),
        admin=MemoryAdminStore(memory),
        audit=MemoryAuditLogStore(memory),
        operators=MemoryOperatorStore(memory),
        console_sessions=MemoryConsoleSessionStore(memory),
        circuit_breakers=MemoryCircuitBreakerStore(memory),
        catalogue=MemoryCatalogueStore(memory),
        model_pins=MemoryModelPinStore(memory),
        heartbeats=MemoryWorkerHeartbeats(memory),
        identity=MemoryStoreIdentity(memory),
        files=MemoryFileStore(memory),
        usage_history=MemoryUsageHistoryStore(memory),
    )
