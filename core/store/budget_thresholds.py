"""Which thresholds of its budgets a tenant was notified of."""

from datetime import timedelta

from core.billing.thresholds import ReachedThreshold
from core.clock import Clock
from core.store import keys
from core.store.client import RedisClient
from core.store.deliveries import new_delivery_arguments, new_delivery_keys
from core.store.scripts import LuaScripts
from core.tenants.windows import UsageWindow
from core.webhooks.delivery import Delivery


class BudgetThresholdStore:
    """The last notified threshold of each kind of window, by tenant, in Redis."""

    def __init__(self, client: RedisClient, scripts: LuaScripts, clock: Clock) -> None:
        """Send commands through `client`."""
        self._client = client
        self._scripts = scripts
        self._clock = clock

    async def acquire_threshold_lock(self, worker: str, lease: timedelta) -> bool:
        """Return whether this worker may compare budgets: one does, until `lease` ends."""
        return await self._scripts.acquire_lock(keys.THRESHOLD_LOCK, worker, lease)

    async def load_notified(self, tenant: str, window: UsageWindow) -> int:
        """Return the highest threshold of which the tenant was notified in a window; 0: none."""
        found = await self._client.execute("HGET", keys.budget_thresholds(tenant), window.kind)
        name, _, percent = (found or b"").decode().partition(" ")
        return int(percent) if name == window.name else 0

    async def notify(
        self, tenant: str, reached: ReachedThreshold, deliveries: tuple[Delivery, ...]
    ) -> bool:
        """Store the deliveries; return False if it or a higher one was notified in its window."""
        stored = await self._scripts.call(
            "notify_threshold",
            [keys.budget_thresholds(tenant), keys.OUTBOX, *new_delivery_keys(deliveries)],
            [
                reached.window.kind,
                reached.window.name,
                reached.percent,
                *new_delivery_arguments(deliveries, self._clock.now()),
            ],
        )
        return bool(stored)
