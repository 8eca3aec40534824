"""A gateway's stores with a clock that can jump, over the twin's memory or over a real Redis.

Tests act on it in few words: a tenant, a submit, what became of a job.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from random import Random
from typing import TYPE_CHECKING, Any, Final

from pydantic import SecretStr

from core.jobs.job import Billed, Errand, Job, JobState
from core.jobs.timeline import Note, TimelineEntry
from core.money import MicroUsd
from core.settings import RedisPolicy
from core.store.circuit_breaker import BreakerStore
from core.store.client import Wire, connection_source
from core.store.jobs import JobStore
from core.store.operations import ControlStore
from core.store.scripts import Scripts, read_scripts
from core.store.tenants import TenantStore
from core.store.usage import UsageStore
from core.tenants.api_keys import Credential, KeyRecord, digest_of
from core.tenants.cache_policy import ReusePolicy
from core.tenants.limits import Limits
from core.tenants.tenant import Tenant
from core.transactions.admission import Admission, Admitted
from core.transactions.job_update import Change
from tests.fakes.clock import FakeClock
from tests.fakes.ids import SeededIds
from tests.fakes.stores import memory_stores

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import datetime

    import pytest

    from core.billing.usage import Usage
    from core.transactions.job_update import Outcome
    from tests.fakes.jobs import MemoryJobStore
    from tests.fakes.shared import MemoryBreakerStore
    from tests.fakes.stores import MemoryStores
    from tests.fakes.tenancy import MemoryControlStore, MemoryTenantStore, MemoryUsageStore

SUBJECTS: Final = ("memory", "redis")
MODEL: Final = "kling/image-to-video"
PRICE: Final = MicroUsd(1_260_000)
NO_LIMITS: Final = Limits()
NO_REUSE_POLICY: Final = ReusePolicy()


class HandClock(FakeClock):
    """A fake clock that can also be put back, as a machine's may be."""

    def jump(self, span: timedelta) -> None:
        """Be `span` later, or earlier."""
        self._now += span

    def put(self, instant: datetime) -> None:
        """Be at `instant`."""
        self._now = instant


@dataclass(slots=True)
class Gateway:
    """One gateway's stores."""

    clock: HandClock
    jobs: JobStore | MemoryJobStore
    tenants: TenantStore | MemoryTenantStore
    usage: UsageStore | MemoryUsageStore
    controls: ControlStore | MemoryControlStore
    breakers: BreakerStore | MemoryBreakerStore
    ids: SeededIds = field(default_factory=lambda: SeededIds(Random(1)))

    async def tenant(
        self,
        name: str,
        limits: Limits = NO_LIMITS,
        reuse: ReusePolicy = NO_REUSE_POLICY,
        **more: Any,  # noqa: ANN401 - fields of the tenant
    ) -> None:
        """Make a tenant whose key is its own name."""
        now = self.clock.now()
        created = await self.tenants.create(
            Tenant(name, now, limits=limits, reuse=reuse, **more),
            KeyRecord(digest_of(name), name, now),
        )
        assert created

    async def limit(self, name: str, limits: Limits) -> bool:
        """Put other limits in force."""
        before = await self.tenants.load(name)
        assert before is not None
        after = replace(before, limits=limits, version=before.version + 1)
        return await self.tenants.change(before, after)

    async def share(self, name: str, reuse: ReusePolicy) -> bool:
        """Let a tenant share otherwise than before."""
        before = await self.tenants.load(name)
        assert before is not None
        after = replace(before, reuse=reuse, version=before.version + 1)
        return await self.tenants.change(before, after)

    async def delete(self, name: str) -> bool:
        """Delete a tenant."""
        before = await self.tenants.load(name)
        assert before is not None
        version, now = before.version + 1, self.clock.now()
        after = replace(before, disabled=True, deleted_at=now, version=version)
        return await self.tenants.delete(before, after)

    def job(self, tenant: str, model: str = MODEL, **changes: Any) -> Job:  # noqa: ANN401 - fields of the record
        """A job as the service makes it."""
        now = self.clock.now()
        plain = Job(self.ids.job_id(now), tenant, model, "1:f", now, now, estimate=PRICE)
        return replace(plain, **changes)

    async def admit(self, job: Job, **more: Any) -> Admitted:  # noqa: ANN401 - fields of the admission
        """Take a job in."""
        entry = TimelineEntry(job.created_at, Note.ADMITTED, "admitted", JobState.QUEUED)
        credential = Credential(job.tenant, digest_of(job.tenant))
        return await self.jobs.admit(Admission(credential, job, b"{}", entry, **more))

    async def submit(self, tenant: str, model: str = MODEL, **changes: Any) -> Job:  # noqa: ANN401 - fields of the record
        """A job that was taken in."""
        job = self.job(tenant, model, **changes)
        await self.admit(job)
        return job

    async def move(
        self,
        job_id: str,
        state: JobState,
        output: bytes | None = None,
        **changes: Any,  # noqa: ANN401 - fields of the record
    ) -> Outcome:
        """Store a job's next record."""
        record = await self.jobs.load(job_id)
        assert record is not None
        after = record.job.noted(self.clock.now(), state=state, **changes)
        return await self.jobs.store(Change(record.job, after, output=output))

    async def start(self, job_id: str) -> Outcome:
        """A worker claims the job for its submit."""
        return await self.move(job_id, JobState.SUBMITTING, billed=Billed.UNKNOWN)

    async def succeed(
        self, job_id: str, cost: int | None = None, output: bytes | None = None
    ) -> Outcome:
        """The job ends well; without `cost`, RunComfy will say later what it took."""
        told = None if cost is None else MicroUsd(cost)
        errand = Errand.READ_COST if told is None else None
        return await self.move(
            job_id, JobState.SUCCEEDED, output, billed=Billed.YES, cost=told, errand=errand
        )

    async def cancel(self, job_id: str) -> Outcome:
        """The job ends without a charge."""
        return await self.move(job_id, JobState.CANCELLED, billed=Billed.NO, errand=None)

    async def use(self, tenant: str) -> Usage:
        """How a tenant stands now."""
        return await self.usage.read(tenant, NO_LIMITS, self.clock.now())


def in_memory(clock: HandClock | None = None) -> tuple[Gateway, MemoryStores]:
    """A gateway over a new memory."""
    clock = clock or HandClock()
    stores = memory_stores(clock)
    gateway = Gateway(
        clock, stores.jobs, stores.tenants, stores.usage, stores.controls, stores.breakers
    )
    return gateway, stores


def in_redis(wire: Wire, clock: HandClock | None = None) -> Gateway:
    """A gateway over the Redis behind `wire`."""
    clock = clock or HandClock()
    scripts = Scripts(wire, read_scripts())
    return Gateway(
        clock=clock,
        jobs=JobStore(wire, scripts, clock),
        tenants=TenantStore(wire, scripts, clock),
        usage=UsageStore(wire),
        controls=ControlStore(wire, scripts, clock),
        breakers=BreakerStore(wire, scripts, clock),
    )


def wire_to(url: str) -> Wire:
    """A connection for a test."""
    patience = timedelta(seconds=10)
    policy = RedisPolicy(SecretStr(url), (), "", patience, patience)
    return Wire(connection_source(policy, "test"))


@asynccontextmanager
async def gateway_of(subject: str, request: pytest.FixtureRequest) -> AsyncIterator[Gateway]:
    """An empty gateway; Redis is started only where it is asked for."""
    if subject == "memory":
        yield in_memory()[0]
        return
    async with wire_to(request.getfixturevalue("redis_flushed")) as wire:
        yield in_redis(wire)
