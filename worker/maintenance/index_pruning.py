"""Takes jobs whose time is over out of their tenants' indexes. One worker at a time does it.

Redis frees the records by itself; a member of an index has no lifetime there.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from core.clock import Clock
from core.retention import RETENTION
from core.tenants.tenant import Tenant


class PrunableJobIndex(Protocol):
    """What the trimmer asks of the list of jobs. See `core.store.job_index.ListedJobs`."""

    async def acquire_prune_lock(self, worker: str, lease: timedelta) -> bool:
        """Whether this worker trims until the lease ends."""
        ...

    async def prune(
        self, tenant: str, offset: int, created_before: datetime
    ) -> tuple[int, int | None]:
        """One bounded step: how many were gone, and how many were passed."""
        ...


class TenantDirectory(Protocol):
    """Who has jobs."""

    async def list_names(self) -> frozenset[str]:
        """Every tenant."""
        ...

    async def load(self, name: str) -> Tenant | None:
        """One of them."""
        ...


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
        index: PrunableJobIndex,
        tenants: TenantDirectory,
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
