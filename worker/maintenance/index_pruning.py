"""Removes expired jobs from their tenants' indexes. One worker at a time does it.

Redis expires the records by itself, but members of a sorted set have no lifetime of their own.
"""

from dataclasses import dataclass
from datetime import timedelta

from core.clock import Clock
from core.retention import RETENTION
from core.store.interfaces import JobIndexRepository, TenantRepository
from core.tenants.tenant import Tenant


@dataclass(frozen=True, slots=True)
class PrunePolicy:
    """How often indexes are pruned, and at most how many steps a run takes for each tenant."""

    interval: timedelta = timedelta(minutes=1)
    max_steps: int = 500


class IndexPruner:
    """Prunes jobs that are older than their tenant's retention, oldest first."""

    def __init__(
        self,
        worker_id: str,
        index: JobIndexRepository,
        tenants: TenantRepository,
        clock: Clock,
        policy: PrunePolicy,
    ) -> None:
        """`worker_id` holds the lock that only one worker has."""
        self._worker_id = worker_id
        self._index = index
        self._tenants = tenants
        self._clock = clock
        self._policy = policy

    async def run_once(self) -> None:
        """Prune every tenant's indexes, unless another worker does."""
        if not await self._index.acquire_prune_lock(self._worker_id, self._policy.interval):
            return
        for name in sorted(await self._tenants.list_names()):
            tenant = await self._tenants.load(name)
            if tenant is not None:
                await self._prune(tenant)

    async def _prune(self, tenant: Tenant) -> None:
        horizon = self._clock.now() - (tenant.result_ttl or RETENTION)
        offset: int | None = 0
        for _ in range(self._policy.max_steps):
            if offset is None:
                return
            _, offset = await self._index.prune(tenant.name, offset, horizon)
