"""The two backends of the contract tests: the in-memory stores, and the stores over a real Redis.

A probe reads what the stores' methods do not return: indexes, counters, messages and TTLs.
"""

from dataclasses import dataclass, fields, replace
from datetime import timedelta
from typing import Any

import orjson
from pydantic import SecretStr

from core.store import keys
from core.store.batch_parts import MAX_PART_ITEMS
from core.store.batches import BatchStore
from core.store.client import RedisClient
from core.store.encryption import SecretCipher, new_encryption_key
from core.store.scripts import LuaScripts, load_scripts
from core.store.stores import Stores, open_stores
from tests.support.clock import FakeClock
from tests.support.consistency import find_inconsistencies
from tests.support.memory_store.snapshots import Snapshot, restore_snapshot, take_snapshot
from tests.support.memory_store.state import MemoryState
from tests.support.memory_store.stores import memory_stores
from tests.support.redis import StoreCopy, copy_store, put_back


class MemoryProbe:
    """Reads the state of the in-memory stores. Scores are milliseconds."""

    def __init__(self, memory: MemoryState) -> None:
        """Read `memory`."""
        self._memory = memory

    async def due(self) -> dict[str, int]:
        """Jobs with the instants at which they are due."""
        return dict(self._memory.due)

    async def in_doubt(self) -> dict[str, int]:
        """Jobs in doubt with the instants since which they are."""
        return dict(self._memory.in_doubt)

    async def outbox(self) -> dict[str, int]:
        """Waiting deliveries with their next attempt; those in flight with the end of the lease."""
        channels = self._memory.delivery_queues.values()
        return {n: at for each in channels for n, at in (each.waiting | each.in_flight).items()}

    async def channels(self) -> dict[str, int]:
        """Delivery queues with the instants at which they are due."""
        queues = self._memory.tenant_queues.values()
        return {name: at for each in queues for name, at in each.items()}

    async def tenant_jobs(self, tenant: str) -> dict[str, int]:
        """A tenant's jobs with their scores in the list."""
        places = self._memory.tenant_jobs.get(tenant, {})
        return {name: int(place) for name, place in places.items()}

    async def states(self) -> dict[str, int]:
        """The number of jobs by state, without zeros."""
        return {str(state): number for state, number in self._memory.states.items() if number}

    async def wake_queue(self) -> dict[str, int]:
        """Wake-up messages with the instants of their creation."""
        return dict(self._memory.wake_queue)

    async def ttl_of_job(self, job_id: str) -> timedelta | None:
        """The record's TTL; None without one."""
        return self._ttl(self._memory.jobs[job_id].expires_at)

    async def ttl_of_delivery(self, delivery_id: str) -> timedelta | None:
        """The record's TTL; None without one."""
        return self._ttl(self._memory.deliveries[delivery_id].expires_at)

    async def timeline_length(self, job_id: str) -> int:
        """The number of entries in a job's timeline."""
        return len(self._memory.timelines.get(job_id, ()))

    async def copy(self) -> Snapshot:
        """Return a copy of all that is stored."""
        return take_snapshot(self._memory)

    async def inconsistencies(self) -> list[str]:
        """Return nothing: the indexes of memory are compared with Redis's by the tests."""
        return []

    async def go_back(self, copy: Any) -> None:  # noqa: ANN401 - what its own `copy` returned
        """Let the store be as it was when it was copied."""
        restore_snapshot(self._memory, copy)

    async def forget_job(self, job_id: str) -> None:
        """Remove the record and its timeline, as their expiry does, and no index entry."""
        del self._memory.jobs[job_id]
        del self._memory.timelines[job_id]

    async def forget_tenants(self) -> None:
        """Remove all tenants, as a Redis that became empty does."""
        self._memory.tenants.clear()

    async def forget_identity(self) -> None:
        """Remove the store's identity."""
        self._memory.position = None

    async def rewrite_delivery(self, delivery_id: str, state: str) -> None:
        """Store a state in a delivery's record as another release would."""
        row = self._memory.deliveries[delivery_id]
        row.doc = _with_state(row.doc, state)

    def _ttl(self, expires_at: int | None) -> timedelta | None:
        return None if expires_at is None else timedelta(milliseconds=expires_at - self._memory.now)


class RedisProbe:
    """Does the same with Redis's keys."""

    def __init__(self, wire: RedisClient) -> None:
        """Read through the stores' own client."""
        self._wire = wire

    async def due(self) -> dict[str, int]:
        return await self._scores(keys.DUE)

    async def in_doubt(self) -> dict[str, int]:
        return await self._scores(keys.IN_DOUBT)

    async def outbox(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for name in await self.channels():
            found |= await self._scores(keys.delivery_queue(name))
            found |= await self._scores(keys.deliveries_in_flight(name))
        return found

    async def channels(self) -> dict[str, int]:
        tenants = await self._scores(keys.OUTBOX)
        queues = [await self._scores(keys.tenant_queues(tenant)) for tenant in tenants]
        return {name: at for each in queues for name, at in each.items()}

    async def tenant_jobs(self, tenant: str) -> dict[str, int]:
        return await self._scores(keys.tenant_jobs(tenant))

    async def states(self) -> dict[str, int]:
        flat = await self._wire.execute("HGETALL", keys.STATE_COUNTS)
        counts = {name.decode(): int(n) for name, n in zip(flat[::2], flat[1::2], strict=True)}
        return {name: number for name, number in counts.items() if number}

    async def wake_queue(self) -> dict[str, int]:
        """Only messages whose job data exists, as arq needs both."""
        messages = await self._scores(keys.WAKE_QUEUE)
        return {
            name: score
            for name, score in messages.items()
            if await self._wire.execute("EXISTS", keys.arq_message(name))
        }

    async def ttl_of_job(self, job_id: str) -> timedelta | None:
        return await self._ttl(keys.job(job_id))

    async def ttl_of_delivery(self, delivery_id: str) -> timedelta | None:
        return await self._ttl(keys.delivery(delivery_id))

    async def timeline_length(self, job_id: str) -> int:
        return int(await self._wire.execute("LLEN", keys.timeline(job_id)))

    async def copy(self) -> StoreCopy:
        """See `MemoryProbe.copy`."""
        return await copy_store(self._wire)

    async def inconsistencies(self) -> list[str]:
        """Return which indexes and counters differ from the records."""
        return await find_inconsistencies(self._wire)

    async def go_back(self, copy: Any) -> None:  # noqa: ANN401 - what its own `copy` returned
        """See `MemoryProbe.go_back`."""
        await put_back(self._wire, copy)

    async def forget_job(self, job_id: str) -> None:
        await self._wire.execute("DEL", keys.job(job_id), keys.timeline(job_id))

    async def forget_tenants(self) -> None:
        names = await self._wire.execute("SMEMBERS", keys.TENANTS)
        await self._wire.execute("DEL", keys.TENANTS, *(keys.tenant(n.decode()) for n in names))

    async def forget_identity(self) -> None:
        await self._wire.execute("DEL", keys.STORE, keys.STORE_CLAIMS)

    async def rewrite_delivery(self, delivery_id: str, state: str) -> None:
        key = keys.delivery(delivery_id)
        document = await self._wire.execute("HGET", key, "doc")
        await self._wire.execute("HSET", key, "doc", _with_state(document, state))

    async def _scores(self, key: str) -> dict[str, int]:
        flat = await self._wire.execute("ZRANGE", key, 0, -1, "WITHSCORES")
        pairs = zip(flat[::2], flat[1::2], strict=True)
        return {name.decode(): int(float(score)) for name, score in pairs}

    async def _ttl(self, key: str) -> timedelta | None:
        left = await self._wire.execute("PTTL", key)
        return None if left < 0 else timedelta(milliseconds=left)


@dataclass(frozen=True, slots=True)
class StoreBackend(Stores):
    """All stores of one kind, empty, and the clock that they read."""

    clock: FakeClock
    probe: MemoryProbe | RedisProbe


def memory_backend(clock: FakeClock) -> StoreBackend:
    """The in-memory stores."""
    stores = memory_stores(clock)
    return StoreBackend(**_fields_of(stores), clock=clock, probe=MemoryProbe(stores.memory))


def redis_backend(
    clock: FakeClock,
    wire: RedisClient,
    max_part_items: int = MAX_PART_ITEMS,
    probing: RedisClient | None = None,
) -> StoreBackend:
    """The stores over an empty Redis; batches of more than `max_part_items` come in parts.

    `probing`: for the probe, if the login of `wire` has the gateway's rights only.
    """
    cipher = SecretCipher([SecretStr(new_encryption_key())])
    scripts = LuaScripts(wire, load_scripts())
    stores = open_stores(wire, scripts, clock, cipher)
    batches = BatchStore(wire, scripts, clock, max_part_items=max_part_items)
    stores = replace(stores, batches=batches)
    return StoreBackend(**_fields_of(stores), clock=clock, probe=RedisProbe(probing or wire))


def _fields_of(stores: Stores) -> dict[str, Any]:
    return {field.name: getattr(stores, field.name) for field in fields(Stores)}


def _with_state(document: bytes, state: str) -> bytes:
    return orjson.dumps(orjson.loads(document) | {"state": state})
