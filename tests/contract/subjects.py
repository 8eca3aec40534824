"""The two subjects of the contract: the twins in memory, and the stores over a real Redis.

A probe looks behind the stores' methods at what they keep: indexes, counters, messages, lifetimes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

from pydantic import SecretStr

from core.settings import RedisPolicy
from core.store import keys
from core.store.batches import BatchStore
from core.store.circuit_breaker import BreakerStore
from core.store.deliveries import DeliveryStore
from core.store.job_index import ListedJobs
from core.store.jobs import JobStore
from core.store.model_catalogue import CatalogueStore
from core.store.run_times import HistoryStore
from core.store.scripts import Scripts, read_scripts
from core.store.tenants import TenantStore
from core.store.webhook_endpoints import WebhookStore
from core.store.webhook_replays import ReplayStore
from core.store.worker_heartbeats import Presence
from tests.fakes.stores import MemoryHistoryStore, memory_stores

if TYPE_CHECKING:
    from core.store.client import Wire
    from tests.fakes.batches import MemoryBatchStore
    from tests.fakes.clock import FakeClock
    from tests.fakes.jobs import MemoryJobStore
    from tests.fakes.listing import MemoryListedJobs
    from tests.fakes.memory import Memory
    from tests.fakes.outbox import MemoryDeliveryStore, MemoryReplayStore, MemoryWebhookStore
    from tests.fakes.shared import MemoryBreakerStore, MemoryCatalogueStore, MemoryPresence
    from tests.fakes.tenancy import MemoryTenantStore


class Probe(Protocol):
    """What a store keeps, where its methods do not tell. Scores are milliseconds."""

    async def due(self) -> dict[str, int]:
        """Jobs by when somebody must look."""
        ...

    async def doubts(self) -> dict[str, int]:
        """Jobs in doubt by since when."""
        ...

    async def outbox(self) -> dict[str, int]:
        """Deliveries that wait, by when the next attempt is due; those under way, by lease."""
        ...

    async def channels(self) -> dict[str, int]:
        """Channels by when they must be looked at."""
        ...

    async def tenant_jobs(self, tenant: str) -> dict[str, int]:
        """A tenant's jobs by age."""
        ...

    async def states(self) -> dict[str, int]:
        """How many jobs are counted in each state; noughts left out."""
        ...

    async def bell(self) -> dict[str, int]:
        """Messages by when they were left."""
        ...

    async def life_of_job(self, job_id: str) -> timedelta | None:
        """How long the record is kept from now; None for ever."""
        ...

    async def life_of_delivery(self, delivery_id: str) -> timedelta | None:
        """How long the record is kept from now; None for ever."""
        ...

    async def lines(self, job_id: str) -> int:
        """How many lines a job's timeline has."""
        ...

    async def forget_job(self, job_id: str) -> None:
        """Lose the record and its timeline, as when their time is over; no index."""
        ...


@dataclass(frozen=True, slots=True)
class Subject:
    """All stores of one kind, empty, and the clock that they go by."""

    clock: FakeClock
    jobs: JobStore | MemoryJobStore
    batches: BatchStore | MemoryBatchStore
    listed: ListedJobs | MemoryListedJobs
    deliveries: DeliveryStore | MemoryDeliveryStore
    tenants: TenantStore | MemoryTenantStore
    webhooks: WebhookStore | MemoryWebhookStore
    replays: ReplayStore | MemoryReplayStore
    breakers: BreakerStore | MemoryBreakerStore
    catalogue: CatalogueStore | MemoryCatalogueStore
    presence: Presence | MemoryPresence
    histories: HistoryStore | MemoryHistoryStore
    probe: Probe


def memory_subject(clock: FakeClock) -> Subject:
    """The twins."""
    stores = memory_stores(clock)
    return Subject(
        clock=clock,
        jobs=stores.jobs,
        batches=stores.batches,
        listed=stores.listed,
        deliveries=stores.deliveries,
        tenants=stores.tenants,
        webhooks=stores.webhooks,
        replays=stores.replays,
        breakers=stores.breakers,
        catalogue=stores.catalogue,
        presence=stores.presence,
        histories=stores.histories,
        probe=MemoryProbe(stores.memory),
    )


def redis_subject(clock: FakeClock, wire: Wire) -> Subject:
    """The real ones, over an empty Redis."""
    scripts = Scripts(wire, read_scripts())
    return Subject(
        clock=clock,
        jobs=JobStore(wire, scripts, clock),
        batches=BatchStore(wire, scripts, clock),
        listed=ListedJobs(wire, scripts, clock),
        deliveries=DeliveryStore(wire, scripts, clock),
        tenants=TenantStore(wire, scripts, clock),
        webhooks=WebhookStore(wire, scripts, clock),
        replays=ReplayStore(wire, scripts, clock),
        breakers=BreakerStore(wire, scripts, clock),
        catalogue=CatalogueStore(wire, scripts),
        presence=Presence(wire, clock),
        histories=HistoryStore(wire),
        probe=RedisProbe(wire),
    )


def redis_policy(url: str) -> RedisPolicy:
    """A patient connection to the private Redis of the tests."""
    patience = timedelta(seconds=5)
    return RedisPolicy(SecretStr(url), (), "", patience, patience)


class MemoryProbe:
    """Reads the twins' memory."""

    def __init__(self, memory: Memory) -> None:
        """Of these twins."""
        self._memory = memory

    async def due(self) -> dict[str, int]:
        """See `Probe`."""
        return dict(self._memory.due)

    async def doubts(self) -> dict[str, int]:
        """See `Probe`."""
        return dict(self._memory.doubts)

    async def outbox(self) -> dict[str, int]:
        """See `Probe`."""
        channels = self._memory.channels.values()
        return {n: at for each in channels for n, at in (each.waiting | each.busy).items()}

    async def channels(self) -> dict[str, int]:
        """See `Probe`."""
        return dict(self._memory.outbox)

    async def tenant_jobs(self, tenant: str) -> dict[str, int]:
        """See `Probe`."""
        places = self._memory.tenant_jobs.get(tenant, {})
        return {name: int(place) for name, place in places.items()}

    async def states(self) -> dict[str, int]:
        """See `Probe`."""
        return {str(state): number for state, number in self._memory.states.items() if number}

    async def bell(self) -> dict[str, int]:
        """See `Probe`."""
        return dict(self._memory.bell)

    async def life_of_job(self, job_id: str) -> timedelta | None:
        """See `Probe`."""
        return self._life(self._memory.jobs[job_id].expires_at)

    async def life_of_delivery(self, delivery_id: str) -> timedelta | None:
        """See `Probe`."""
        return self._life(self._memory.deliveries[delivery_id].expires_at)

    async def lines(self, job_id: str) -> int:
        """See `Probe`."""
        return len(self._memory.timelines.get(job_id, ()))

    async def forget_job(self, job_id: str) -> None:
        """See `Probe`."""
        del self._memory.jobs[job_id]
        del self._memory.timelines[job_id]

    def _life(self, expires_at: int | None) -> timedelta | None:
        return None if expires_at is None else timedelta(milliseconds=expires_at - self._memory.now)


class RedisProbe:
    """Reads Redis' keys."""

    def __init__(self, wire: Wire) -> None:
        """Over the stores' own wire."""
        self._wire = wire

    async def due(self) -> dict[str, int]:
        """See `Probe`."""
        return await self._scores(keys.DUE)

    async def doubts(self) -> dict[str, int]:
        """See `Probe`."""
        return await self._scores(keys.DOUBTS)

    async def outbox(self) -> dict[str, int]:
        """See `Probe`."""
        found: dict[str, int] = {}
        for name in await self._scores(keys.OUTBOX):
            found |= await self._scores(keys.channel(name))
            found |= await self._scores(keys.channel_busy(name))
        return found

    async def channels(self) -> dict[str, int]:
        """See `Probe`."""
        return await self._scores(keys.OUTBOX)

    async def tenant_jobs(self, tenant: str) -> dict[str, int]:
        """See `Probe`."""
        return await self._scores(keys.tenant_jobs(tenant))

    async def states(self) -> dict[str, int]:
        """See `Probe`."""
        flat = await self._wire.execute("HGETALL", keys.STATES)
        counts = {name.decode(): int(n) for name, n in zip(flat[::2], flat[1::2], strict=True)}
        return {name: number for name, number in counts.items() if number}

    async def bell(self) -> dict[str, int]:
        """See `Probe`: those whose bytes are there, as arq needs them."""
        messages = await self._scores(keys.BELL)
        return {
            name: score
            for name, score in messages.items()
            if await self._wire.execute("EXISTS", keys.message(name))
        }

    async def life_of_job(self, job_id: str) -> timedelta | None:
        """See `Probe`."""
        return await self._life(keys.job(job_id))

    async def life_of_delivery(self, delivery_id: str) -> timedelta | None:
        """See `Probe`."""
        return await self._life(keys.delivery(delivery_id))

    async def lines(self, job_id: str) -> int:
        """See `Probe`."""
        return int(await self._wire.execute("LLEN", keys.timeline(job_id)))

    async def forget_job(self, job_id: str) -> None:
        """See `Probe`."""
        await self._wire.execute("DEL", keys.job(job_id), keys.timeline(job_id))

    async def _scores(self, key: str) -> dict[str, int]:
        flat = await self._wire.execute("ZRANGE", key, 0, -1, "WITHSCORES")
        pairs = zip(flat[::2], flat[1::2], strict=True)
        return {name.decode(): int(float(score)) for name, score in pairs}

    async def _life(self, key: str) -> timedelta | None:
        left = await self._wire.execute("PTTL", key)
        return None if left < 0 else timedelta(milliseconds=left)
