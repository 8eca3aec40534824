"""Takes jobs whose time is over out of their tenants' indexes. One worker at a time does it.

Redis frees the records by itself; a member of an index has no lifetime there.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from core.clock import Clock
from core.retention import RETENTION
from core.tenants.tenant import Tenant


class Listed(Protocol):
    """What the trimmer asks of the list of jobs. See `core.store.job_index.ListedJobs`."""

    async def take_turn(self, worker: str, lease: timedelta) -> bool:
        """Whether this worker trims until the lease ends."""
        ...

    async def trim(self, tenant: str, passed: int, horizon: datetime) -> tuple[int, int | None]:
        """One bounded step: how many were gone, and how many were passed."""
        ...


class Tenants(Protocol):
    """Who has jobs."""

    async def names(self) -> frozenset[str]:
        """Every tenant."""
        ...

    async def load(self, name: str) -> Tenant | None:
        """One of them."""
        ...


@dataclass(frozen=True, slots=True)
class TrimPolicy:
    """How often, and how many steps for each tenant at most: what is left waits for the next."""

    every: timedelta = timedelta(minutes=1)
    steps: int = 500


class Trimmer:
    """Looks through what was made longer ago than its tenant's jobs are kept, oldest first."""

    def __init__(
        self, name: str, listed: Listed, tenants: Tenants, clock: Clock, policy: TrimPolicy
    ) -> None:
        """`name` is the worker's."""
        self._name = name
        self._listed = listed
        self._tenants = tenants
        self._clock = clock
        self._policy = policy

    async def run_once(self) -> None:
        """Trim every tenant's indexes, unless another worker does."""
        if not await self._listed.take_turn(self._name, self._policy.every):
            return
        for name in sorted(await self._tenants.names()):
            tenant = await self._tenants.load(name)
            if tenant is not None:
                await self._trim(tenant)

    async def _trim(self, tenant: Tenant) -> None:
        horizon = self._clock.now() - (tenant.result_ttl or RETENTION)
        passed: int | None = 0
        for _ in range(self._policy.steps):
            if passed is None:
                return
            _, passed = await self._listed.trim(tenant.name, passed, horizon)
