"""Takes jobs whose time is over out of their tenants' indexes. One worker at a time does it.

Redis frees the records by itself; a member of an index has no lifetime there.
"""

from dataclasses import dataclass
from datetime import timedelta

from core.clock import Clock
from core.retention import RETENTION
from core.store.interfaces import JobIndexRepository, TenantRepository
from core.tenants.tenant import Tenant


@dataclass(frozen=True, slots=True)
class PrunePolicy:
    """How often, and how many steps for each tenant at most: what is left waits for the next."""

    interval: timedelta = timedelta(minutes=1)
    max_steps: int = 500


class IndexPruner:
    """Looks through what was made longer ago than its tenant's jobs are kept, oldest first."""

    def __init__(
        self,
        worker_id: str,
        index: JobIndexRepository,
        tenants: TenantRepository,
        clock: Clock,
        policy: PrunePolicy,
    ) -> None:
        """`name` is the worker's."""
        self._worker_id = worker_id
        self._index = index
        self._tenants = tenants
        self._clock = clock
        self._policy = policy

    async def run_once(self) -> None:
        """Trim every tenant's indexes, unless another worker does."""
        if not await self._index.acquire_prune_lock(self._worker_id, self._policy.interval):
            return
        for name in sorted(await self._tenants.list_names()):
            tenant = await self._tenants.load(name)
            if tenant is not None:
                await self._prune(tenant)

    async def _prune(self, tenant: Tenant) -> None:
        horizon = self._clock.now() - (tenant.result_ttl or RETENTION)
        passed: int | None = 0
        for _ in range(self._policy.max_steps):
            if passed is None:
                return
            _, passed = await self._index.prune(tenant.name, passed, horizon)
