"""Notifies tenants when a share of a budget is used. One worker at a time does it."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from core.billing.thresholds import ReachedThreshold, reached_thresholds
from core.billing.usage import Budget
from core.clock import Clock
from core.errors import RecordUnreadable
from core.observability.events import BudgetThresholdReached, Emit
from core.store.stores import Stores
from core.tenants.tenant import Tenant
from core.transactions.webhook_deliveries import threshold_deliveries

THRESHOLD_INTERVAL: Final = timedelta(seconds=10)
"""How often each worker tries to compare usage with budgets; one of them does."""


@dataclass(frozen=True, slots=True)
class ThresholdPolicy:
    """The percents of a budget to notify of, none if empty, and how often to compare."""

    percents: Sequence[int]
    interval: timedelta = THRESHOLD_INTERVAL


class BudgetThresholdNotifier:
    """Compares usage with budgets, so that it does not matter what moved either of them.

    A reservation, a settlement above its estimate and a lowered limit all cross a threshold.
    """

    def __init__(
        self, worker_id: str, stores: Stores, policy: ThresholdPolicy, clock: Clock, emit: Emit
    ) -> None:
        """`worker_id` holds the lock that only one worker has."""
        self._worker_id = worker_id
        self._thresholds = stores.budget_thresholds
        self._tenants = stores.tenants
        self._history = stores.usage_history
        self._webhook_configs = stores.webhook_configs
        self._policy = policy
        self._clock = clock
        self._emit = emit

    async def run_once(self) -> None:
        """Notify every tenant that has reached a threshold, unless another worker does."""
        if not self._policy.percents:
            return
        if not await self._thresholds.acquire_threshold_lock(
            self._worker_id, self._policy.interval
        ):
            return
        for name in sorted(await self._tenants.list_names()):
            with suppress(RecordUnreadable):  # counted elsewhere; the other tenants' turn comes
                tenant = await self._tenants.load(name)
                if tenant is not None and tenant.limits.has_budget:
                    await self._notify_tenant(tenant)

    async def _notify_tenant(self, tenant: Tenant) -> None:
        budget, now = Budget.of_tenant(tenant), self._clock.now()
        kept = await self._history.read_windows(tenant.name)
        notified: dict[str, int] = {}
        for reached in reached_thresholds(budget, kept, now, self._policy.percents):
            window = reached.window
            if window.name not in notified:
                notified[window.name] = await self._thresholds.load_notified(tenant.name, window)
            if reached.percent > notified[window.name]:
                await self._notify(tenant, reached)

    async def _notify(self, tenant: Tenant, reached: ReachedThreshold) -> None:
        config = (await self._webhook_configs.load_versioned(tenant.name)).config
        deliveries = threshold_deliveries(tenant, reached, config, self._clock.now())
        if await self._thresholds.notify(tenant.name, reached, deliveries):
            window = reached.window.kind
            self._emit(
                BudgetThresholdReached(
                    tenant.name, window, reached.percent, reached.used, reached.budget
                )
            )
