"""The fake of the store of notified thresholds."""

from datetime import timedelta

from core.billing.thresholds import ReachedThreshold
from core.tenants.windows import UsageWindow
from core.webhooks.delivery import Delivery
from tests.support.memory_store.state import MemoryState
from tests.support.memory_store.webhooks import enqueue_delivery


class MemoryBudgetThresholdStore:
    """Fake of `core.store.budget_thresholds.BudgetThresholdStore`."""

    def __init__(self, memory: MemoryState) -> None:
        """Share `memory` with the other stores."""
        self._memory = memory
        self._notified: dict[tuple[str, str], tuple[str, int]] = {}

    async def acquire_threshold_lock(self, worker: str, lease: timedelta) -> bool:
        return self._memory.acquire_lock("threshold", worker, lease)

    async def load_notified(self, tenant: str, window: UsageWindow) -> int:
        name, percent = self._notified.get((tenant, window.kind), ("", 0))
        return percent if name == window.name else 0

    async def notify(
        self, tenant: str, reached: ReachedThreshold, deliveries: tuple[Delivery, ...]
    ) -> bool:
        if await self.load_notified(tenant, reached.window) >= reached.percent:
            return False
        window = reached.window
        self._notified[tenant, window.kind] = (window.name, reached.percent)
        for delivery in deliveries:
            enqueue_delivery(self._memory, delivery)
        return True
