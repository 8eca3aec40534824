"""Twins of the stores over one shared memory; `tests/contract` holds them to what Redis does.

Each method does all its work in one turn of the event loop, as a Lua script does in one of Redis.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from core.breaker import Breaker
from core.changes import RETENTION, Admission, Change, Outcome
from core.clock import from_ms, to_ms
from core.errors import NotFound, NotPermitted, Unauthenticated
from core.jobs import JobRecord, JobState
from core.store.catalogue import CatalogueSnapshot
from core.store.doorbell import ring_for
from core.store.jobs import RING_GRACE, Depth, JobView
from core.store.presence import FORGET_AFTER, Durability
from core.store.records import BREAKERS, ENTRIES, JOBS, KEYS, TENANTS
from core.tenants import Scope
from tests.fakes.memory import KeyRow, Memory, Row, TenantRow, due_first, write_due
from tests.fakes.outbox import (
    MemoryDeliveryStore,
    MemoryReplayStore,
    MemoryWebhookStore,
    post,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime, timedelta

    from core.clock import Clock
    from core.deliveries import Delivery
    from core.jobs import Job
    from core.tenants import Credential, KeyRecord, Tenant

SAFE: Final = Durability(aof=True, appendfsync="always", maxmemory_policy="noeviction")


class MemoryJobStore:
    """Twin of `core.store.jobs.JobStore`."""

    def __init__(self, memory: Memory) -> None:
        """Over `memory`."""
        self._memory = memory

    async def authenticate(self, credential: Credential, scope: Scope | None = None) -> None:
        """See `JobStore.authenticate`."""
        self._authenticate(credential, scope)

    async def admit(self, admission: Admission) -> None:
        """See `JobStore.admit`."""
        self._authenticate(admission.credential, Scope.SUBMIT)
        memory, job = self._memory, admission.job
        now = memory.clock.now()
        memory.jobs[job.id] = Row(job.version, JOBS.write(job), input=admission.input)
        memory.timelines.setdefault(job.id, []).append(ENTRIES.write(admission.entry))
        memory.states[job.state] += 1
        memory.tenant_jobs.setdefault(job.tenant, {})[job.id] = to_ms(job.created_at)
        write_due(memory.due, job.id, job.due_at or now + RING_GRACE)
        memory.ring(ring_for(job, now))
        memory.changed()

    async def read(
        self, credential: Credential, job_id: str, depth: Depth, scope: Scope = Scope.READ
    ) -> JobView:
        """See `JobStore.read`."""
        self._authenticate(credential, scope)
        memory, row = self._memory, self._memory.job(job_id)
        if row is None or (job := JOBS.read(row.doc)).tenant != credential.tenant:
            raise NotFound
        output = None if depth is Depth.STATUS else row.output
        record = JobRecord(job=job, polls=row.polls, output=output)
        if depth is not Depth.ALL:
            return JobView(record=record)
        return JobView(
            record=record,
            timeline=tuple(ENTRIES.read(entry) for entry in memory.timelines.get(job_id, ())),
            delivery_ids=tuple(memory.job_deliveries.get(job_id, ())),
        )

    async def load(self, job_id: str) -> JobRecord | None:
        """See `JobStore.load`."""
        row = self._memory.job(job_id)
        if row is None:
            return None
        return JobRecord(job=JOBS.read(row.doc), polls=row.polls, output=row.output)

    async def input(self, job_id: str) -> bytes | None:
        """See `JobStore.input`."""
        row = self._memory.job(job_id)
        return None if row is None else row.input

    async def store(self, change: Change) -> Outcome:
        """See `JobStore.store`."""
        memory, before, after = self._memory, change.before, change.after
        row = memory.job(after.id)
        if row is None:
            return Outcome.UNKNOWN
        if row.version != before.version:
            return Outcome.STALE
        row.version, row.doc = after.version, JOBS.write(after)
        row.output = change.output or row.output
        if after.final:
            row.expires_at = memory.after(RETENTION)
        self._count(before, after)
        if after.due_at is None or after.due_at != before.due_at:
            write_due(memory.due, after.id, after.due_at)
        memory.timelines.setdefault(after.id, []).extend(map(ENTRIES.write, change.entries))
        self._write_deliveries(after, change.deliveries)
        if change.ring:
            memory.ring(ring_for(after, memory.clock.now()))
        memory.changed()
        return Outcome.STORED

    async def claim_due(self, lease: timedelta, limit: int) -> Sequence[Job]:
        """See `JobStore.claim_due`."""
        rows = _claim(self._memory, self._memory.due, self._memory.jobs, lease, limit)
        return [JOBS.read(row.doc) for row in rows]

    async def put_off(self, job: Job, due_at: datetime, *, polled: bool = False) -> bool:
        """See `JobStore.put_off`."""
        memory, row = self._memory, self._memory.job(job.id)
        if row is None or row.version != job.version:
            return False
        if job.id in memory.due:
            write_due(memory.due, job.id, due_at)
        row.polls += polled
        memory.changed()
        return True

    async def doubts(self, limit: int) -> Sequence[Job]:
        """See `JobStore.doubts`."""
        oldest = sorted((since, name) for name, since in self._memory.doubts.items())
        records = [await self.load(name) for _, name in oldest[:limit]]
        return [record.job for record in records if record is not None]

    def _authenticate(self, credential: Credential, scope: Scope | None) -> None:
        memory, key = self._memory, self._memory.keys.get(credential.digest)
        if key is None or key.tenant != credential.tenant:
            raise Unauthenticated
        if key.expires_at is not None and key.expires_at <= memory.now:
            raise Unauthenticated
        tenant = memory.tenants.get(credential.tenant)
        if tenant is None or tenant.disabled:
            raise Unauthenticated
        if scope is not None and scope not in key.scopes:
            raise NotPermitted

    def _count(self, before: Job, after: Job) -> None:
        memory = self._memory
        if before.state is after.state:
            return
        memory.states[before.state] -= 1
        memory.states[after.state] += 1
        if after.state is JobState.IN_DOUBT:
            memory.doubts[after.id] = memory.now
        if before.state is JobState.IN_DOUBT:
            memory.doubts.pop(after.id, None)

    def _write_deliveries(self, job: Job, deliveries: Sequence[Delivery]) -> None:
        memory = self._memory
        for delivery in deliveries:
            post(memory, delivery)
            memory.job_deliveries.setdefault(job.id, []).append(delivery.id)


class MemoryTenantStore:
    """Twin of `core.store.tenants.TenantStore`."""

    def __init__(self, memory: Memory) -> None:
        """Over `memory`."""
        self._memory = memory

    async def create(self, tenant: Tenant, key: KeyRecord) -> bool:
        """See `TenantStore.create`."""
        memory = self._memory
        if tenant.name in memory.tenants:
            return False
        memory.tenants[tenant.name] = TenantRow(tenant.disabled, TENANTS.write(tenant))
        memory.keys[key.digest] = KeyRow(
            tenant=tenant.name,
            expires_at=None if key.expires_at is None else to_ms(key.expires_at),
            scopes=frozenset(key.scopes),
            doc=KEYS.write(key),
        )
        return True

    async def load(self, name: str) -> Tenant | None:
        """See `TenantStore.load`."""
        row = self._memory.tenants.get(name)
        return None if row is None else TENANTS.read(row.doc)

    async def names(self) -> frozenset[str]:
        """See `TenantStore.names`."""
        return frozenset(self._memory.tenants)


class MemoryBreakerStore:
    """Twin of `core.store.breaker.BreakerStore`."""

    def __init__(self, memory: Memory) -> None:
        """Over `memory`."""
        self._memory = memory

    async def load(self) -> Breaker:
        """See `BreakerStore.load`."""
        row = self._memory.breaker
        return BREAKERS.read(row.doc) if row.doc else Breaker()

    async def swap(self, before: Breaker, after: Breaker) -> bool:
        """See `BreakerStore.swap`."""
        if self._memory.breaker.version != before.version:
            return False
        self._memory.breaker = Row(after.version, BREAKERS.write(after))
        return True


class MemoryCatalogueStore:
    """Twin of `core.store.catalogue.CatalogueStore`."""

    def __init__(self, memory: Memory) -> None:
        """Over `memory`."""
        self._memory = memory

    async def replace(self, snapshot: CatalogueSnapshot) -> None:
        """See `CatalogueStore.replace`."""
        memory = self._memory
        memory.models = dict(snapshot.models)
        memory.categories = snapshot.categories or b""
        memory.synced_at = None if snapshot.synced_at is None else to_ms(snapshot.synced_at)

    async def synced_at(self) -> datetime | None:
        """See `CatalogueStore.synced_at`."""
        stored = self._memory.synced_at
        return None if stored is None else from_ms(stored)

    async def load(self) -> CatalogueSnapshot:
        """See `CatalogueStore.load`."""
        memory = self._memory
        return CatalogueSnapshot(
            await self.synced_at(), dict(memory.models), memory.categories or None
        )


class MemoryPresence:
    """Twin of `core.store.presence.Presence`."""

    def __init__(self, memory: Memory) -> None:
        """Over `memory`."""
        self._memory = memory

    async def sign(self, worker: str) -> None:
        """See `Presence.sign`."""
        memory = self._memory
        memory.workers[worker] = memory.now
        oldest = to_ms(memory.clock.now() - FORGET_AFTER)
        memory.workers = {name: seen for name, seen in memory.workers.items() if seen > oldest}

    async def leave(self, worker: str) -> None:
        """See `Presence.leave`."""
        self._memory.workers.pop(worker, None)

    async def last_seen(self) -> datetime | None:
        """See `Presence.last_seen`."""
        return from_ms(max(self._memory.workers.values())) if self._memory.workers else None

    async def ping(self) -> None:
        """See `Presence.ping`."""

    async def durability(self) -> Durability:
        """See `Presence.durability`."""
        return SAFE


@dataclass(frozen=True, slots=True)
class MemoryStores:
    """One of each, over the same memory."""

    memory: Memory
    jobs: MemoryJobStore
    deliveries: MemoryDeliveryStore
    tenants: MemoryTenantStore
    webhooks: MemoryWebhookStore
    replays: MemoryReplayStore
    breakers: MemoryBreakerStore
    catalogue: MemoryCatalogueStore
    presence: MemoryPresence


def memory_stores(clock: Clock) -> MemoryStores:
    """Empty stores that go by `clock`."""
    memory = Memory(clock)
    return MemoryStores(
        memory=memory,
        jobs=MemoryJobStore(memory),
        deliveries=MemoryDeliveryStore(memory),
        tenants=MemoryTenantStore(memory),
        webhooks=MemoryWebhookStore(memory),
        replays=MemoryReplayStore(memory),
        breakers=MemoryBreakerStore(memory),
        catalogue=MemoryCatalogueStore(memory),
        presence=MemoryPresence(memory),
    )


def _claim(
    memory: Memory, index: dict[str, int], rows: dict[str, Row], lease: timedelta, limit: int
) -> list[Row]:
    """What is due, each now under a lease; a member without a record is swept out."""
    until = to_ms(memory.clock.now() + lease)
    claimed: list[Row] = []
    for name in due_first(index, memory.now, limit):
        row = rows.get(name)
        if row is None or (row.expires_at is not None and row.expires_at <= memory.now):
            del index[name]
            continue
        index[name] = until
        claimed.append(row)
    return claimed
