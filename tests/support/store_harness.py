"""A gateway's stores and their clock, in memory or over a real Redis, for tests of limits.

Its methods do in one call what a test needs: create a tenant, submit, end a job.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, Final

import pytest

from core.billing.usage import Budget, Usage
from core.jobs.job import BillingStatus, FollowUp, Job, JobState
from core.money import MicroUsd
from core.store.client import RedisClient
from core.store.identity import StoreIdentityRepository, StorePosition
from core.store.interfaces import (
    AdminRepository,
    CircuitBreakerRepository,
    JobIndexRepository,
    JobRepository,
    TenantRepository,
    UsageHistoryRepository,
)
from core.store.scripts import LuaScripts, load_scripts
from core.store.stores import Stores, open_stores
from core.tenants.api_keys import ApiKey, Credential, api_key_digest
from core.tenants.cache_policy import TenantCachePolicy
from core.tenants.limits import Limits
from core.tenants.tenant import Tenant
from core.transactions.admission import Admission, AdmissionResult
from core.transactions.job_update import Change, WriteResult
from tests.support.clock import FakeClock
from tests.support.ids import SeededIds
from tests.support.memory_store.stores import MemoryStores, memory_stores
from tests.support.redis import redis_client

BACKENDS: Final = ("memory", "redis")


MODEL: Final = "kling/image-to-video"


PRICE: Final = MicroUsd(1_260_000)


NO_LIMITS: Final = Limits()


NO_CACHE_POLICY: Final = TenantCachePolicy()


@dataclass(slots=True)
class StoreHarness:
    """One gateway's stores."""

    clock: FakeClock
    jobs: JobRepository
    tenants: TenantRepository
    admin: AdminRepository
    circuit_breakers: CircuitBreakerRepository
    history: UsageHistoryRepository
    job_index: JobIndexRepository
    identity: StoreIdentityRepository
    ids: SeededIds = field(default_factory=lambda: SeededIds(Random(1)))

    async def tenant(
        self,
        name: str,
        limits: Limits = NO_LIMITS,
        cache_policy: TenantCachePolicy = NO_CACHE_POLICY,
        **more: Any,  # noqa: ANN401 - fields of the tenant
    ) -> None:
        """Create a tenant whose key is its own name."""
        now = self.clock.now()
        created = await self.tenants.create(
            Tenant(name, now, limits=limits, cache_policy=cache_policy, **more),
            ApiKey(api_key_digest(name), name, now),
        )
        assert created

    async def set_limits(self, name: str, limits: Limits) -> bool:
        """Change a tenant's limits."""
        return await self.change_tenant(name, limits=limits)

    async def change_tenant(self, name: str, **changes: Any) -> bool:  # noqa: ANN401 - fields of the tenant
        """Change fields of a tenant."""
        before = await self.tenants.load(name)
        assert before is not None
        after = replace(before, version=before.version + 1, **changes)
        return await self.tenants.change(before, after)

    async def set_cache_policy(self, name: str, cache_policy: TenantCachePolicy) -> bool:
        """Change a tenant's cache policy."""
        return await self.change_tenant(name, cache_policy=cache_policy)

    async def delete_tenant(self, name: str) -> bool:
        """Delete a tenant."""
        before = await self.tenants.load(name)
        assert before is not None
        version, now = before.version + 1, self.clock.now()
        after = replace(before, disabled=True, deleted_at=now, version=version)
        return await self.tenants.delete(before, after)

    def job(self, tenant: str, model: str = MODEL, **changes: Any) -> Job:  # noqa: ANN401 - fields of the record
        """A new job, as the service builds it."""
        now = self.clock.now()
        plain = Job(self.ids.job_id(now), tenant, model, "1:f", now, now, estimate=PRICE)
        return replace(plain, **changes)

    async def admit(self, job: Job, **more: Any) -> AdmissionResult:  # noqa: ANN401 - fields of the admission
        """Admit a job."""
        credential = Credential(job.tenant, api_key_digest(job.tenant))
        return await self.jobs.admit(Admission(credential, job, b"{}", **more))

    async def submit(self, tenant: str, model: str = MODEL, **changes: Any) -> Job:  # noqa: ANN401 - fields of the record
        """Admit a new job and return it."""
        job = self.job(tenant, model, **changes)
        await self.admit(job)
        return job

    async def update(
        self,
        job_id: str,
        state: JobState,
        output: bytes | None = None,
        **changes: Any,  # noqa: ANN401 - fields of the record
    ) -> WriteResult:
        """Store a job's next record."""
        record = await self.jobs.load(job_id)
        assert record is not None
        after = record.job.evolve(self.clock.now(), state=state, **changes)
        return await self.jobs.store(Change(record.job, after, output=output))

    async def start(self, job_id: str) -> WriteResult:
        """Claim the job for its submit, as a worker does."""
        return await self.update(job_id, JobState.SUBMITTING, billed=BillingStatus.UNKNOWN)

    async def succeed(
        self, job_id: str, cost: int | None = None, output: bytes | None = None
    ) -> WriteResult:
        """End the job as succeeded; without `cost`, it is read later."""
        charged = None if cost is None else MicroUsd(cost)
        follow_up = FollowUp.READ_COST if charged is None else None
        return await self.update(
            job_id,
            JobState.SUCCEEDED,
            output,
            billed=BillingStatus.YES,
            cost=charged,
            follow_up=follow_up,
        )

    async def cancel(self, job_id: str) -> WriteResult:
        """End the job as cancelled, without a charge."""
        return await self.update(
            job_id, JobState.CANCELLED, billed=BillingStatus.NO, follow_up=None
        )

    async def usage_of_tenant(self, tenant: Tenant) -> Usage:
        """A tenant's current usage, with its budgets."""
        budget = Budget.of_tenant(tenant)
        return await self.tenants.read_usage(tenant.name, budget, self.clock.now(), by_model=True)

    async def usage_of(self, tenant: str) -> Usage:
        """A tenant's current usage."""
        return await self.tenants.read_usage(
            tenant, Budget(NO_LIMITS), self.clock.now(), by_model=True
        )


def memory_harness(clock: FakeClock | None = None) -> tuple[StoreHarness, MemoryStores]:
    """Return a harness over new in-memory stores, and those stores."""
    clock = clock or FakeClock()
    stores = memory_stores(clock)
    return _harness_over(stores, clock), stores


def redis_harness(wire: RedisClient, clock: FakeClock | None = None) -> StoreHarness:
    """Return a harness over the Redis behind `wire`."""
    clock = clock or FakeClock()
    return _harness_over(open_stores(wire, LuaScripts(wire, load_scripts()), clock), clock)


def _harness_over(stores: Stores, clock: FakeClock) -> StoreHarness:
    return StoreHarness(
        clock,
        stores.jobs,
        stores.tenants,
        stores.admin,
        stores.circuit_breakers,
        stores.usage_history,
        stores.job_index,
        stores.identity,
    )


@asynccontextmanager
async def open_harness(backend: str, request: pytest.FixtureRequest) -> AsyncIterator[StoreHarness]:
    """Yield an empty harness; Redis is started only if `backend` needs it."""
    if backend == "memory":
        yield await _identified(memory_harness()[0])
        return
    async with redis_client(request.getfixturevalue("gateway_url")) as wire:
        yield await _identified(redis_harness(wire))


async def _identified(harness: StoreHarness) -> StoreHarness:
    """Return the harness, whose store is known: it refuses keys that it does not have."""
    await harness.identity.create(StorePosition("store"))
    return harness


UNREACHABLE_LIMIT: Final = 10**9


EVERY_LIMIT: Final = Limits(
    requests_per_minute=UNREACHABLE_LIMIT,
    running=5,
    waiting=UNREACHABLE_LIMIT,
    jobs_per_day=UNREACHABLE_LIMIT,
    jobs_per_month=UNREACHABLE_LIMIT,
    usd_per_request=MicroUsd(UNREACHABLE_LIMIT),
    usd_per_day=MicroUsd(10**15),
    usd_per_month=MicroUsd(10**15),
    models=("flux/*", "kling/*"),
)
