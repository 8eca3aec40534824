"""The state of queues, slots and coalescing in one form, read from memory or from Redis."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from core.store import keys
from core.store.client import RedisClient
from core.store.keys import LUA_NAMES
from tests.support.memory_store.state import MemoryState

VIRTUAL_NOW: Final = "@virtual_time"
ARRIVALS: Final = "@arrivals"


@dataclass(frozen=True, slots=True)
class DedupState:
    """The leader and the cached result of one input; `expires_at` in milliseconds."""

    leader: str | None
    result_of: str | None = None
    cost: int | None = None
    expires_at: int | None = None


@dataclass(frozen=True, slots=True)
class QueueState:
    """The whole state that dispatch reads and writes."""

    due: Mapping[str, int]
    wake_queue: frozenset[str]
    states: Mapping[str, int]
    running: Mapping[str, int]
    waiting: Mapping[str, int]
    tags: Mapping[str, float]
    virtual_now: float
    slots: frozenset[str]
    queues: Mapping[tuple[str, str], tuple[str, ...]]
    next_tenants: Mapping[str, Mapping[str, float]]
    """By model, the tags of tenants with waiting jobs that are neither full nor paused."""
    queue_heads: Mapping[str, float]
    """The lowest tag of each model that is neither full nor paused."""
    leaders: Mapping[str, str]
    """The leader of each follower."""
    followers: Mapping[str, Mapping[str, float]]
    """By leader, the deadlines of its followers."""
    waiting_for: Mapping[str, str]
    """What each job without a place in the queues waits for."""
    inputs: Mapping[str, DedupState]
    """The entry of each canonical input, by scope and fingerprint."""


def read_memory(memory: MemoryState) -> QueueState:
    """The state of the in-memory stores."""
    turns = memory.fair_queue
    tenants = {place.tenant for place in turns.waiting.values()}
    lanes: dict[tuple[str, str], list[tuple[int, int, str]]] = {}
    for name, place in turns.waiting.items():
        lane = lanes.setdefault((place.tenant, place.model), [])
        lane.append((place.priority, place.arrival_number, name))
    in_turn: dict[str, dict[str, float]] = {}
    for tenant, model in lanes:
        if not turns.is_closed(f"tenant:{tenant}"):
            in_turn.setdefault(model, {})[tenant] = turns.tags[tenant]
    return QueueState(
        due=dict(memory.due),
        wake_queue=frozenset(memory.wake_queue),
        states={name: number for name, number in memory.states.items() if number},
        running=dict(turns.running()),
        waiting={tenant: turns.waiting_count(tenant) for tenant in tenants},
        tags=dict(turns.tags),
        virtual_now=turns.virtual_now,
        slots=frozenset(turns.slots),
        queues={key: tuple(name for *_, name in sorted(lane)) for key, lane in lanes.items()},
        next_tenants=in_turn,
        queue_heads={
            model: min(tags.values())
            for model, tags in in_turn.items()
            if not turns.is_closed(f"model:{model}")
        },
        leaders=dict(memory.coalescing.leaders),
        followers={name: dict(each) for name, each in memory.coalescing.followers.items() if each},
        waiting_for={name: reason for reason, jobs in memory.waiting_for.items() for name in jobs},
        inputs=_inputs(memory),
    )


def _inputs(memory: MemoryState) -> dict[str, DedupState]:
    found = {}
    for (scope, fingerprint), once in memory.coalescing.entries.items():
        kept = once.cached
        if kept is not None:
            worth = None if kept.cost is None else int(kept.cost)
            found[f"{scope}:{fingerprint}"] = DedupState(
                once.leader, kept.source, worth, kept.expires_at
            )
        elif once.leader is not None:
            found[f"{scope}:{fingerprint}"] = DedupState(once.leader)
    return found


async def read_redis(wire: RedisClient) -> QueueState:
    """The state in Redis."""
    fair = await _hash(wire, keys.QUEUE_TAGS)
    fair.pop(ARRIVALS, None)
    virtual_now = float(fair.pop(VIRTUAL_NOW, 0))
    records = await _records(wire)
    return QueueState(
        due={name: int(score) for name, score in (await _scored(wire, keys.DUE)).items()},
        wake_queue=frozenset(await _scored(wire, keys.WAKE_QUEUE)),
        states={n: int(v) for n, v in (await _hash(wire, keys.STATE_COUNTS)).items() if int(v)},
        running={n: int(v) for n, v in (await _hash(wire, keys.RUNNING)).items()},
        waiting={n: int(v) for n, v in (await _hash(wire, keys.WAITING)).items()},
        tags={name: float(tag) for name, tag in fair.items()},
        virtual_now=virtual_now,
        slots=frozenset(name for name, held in records.items() if held.get(b"slot") == b"1"),
        queues=await _read_queues(wire),
        next_tenants={
            key.removeprefix(LUA_NAMES["queue_tenants"]): await _scored(wire, key)
            for key in await _keys(wire, LUA_NAMES["queue_tenants"])
        },
        queue_heads=await _scored(wire, LUA_NAMES["queue_ready"]),
        leaders={
            name: held[b"leader"].decode() for name, held in records.items() if b"leader" in held
        },
        followers={
            key.removeprefix(LUA_NAMES["followers"]): await _scored(wire, key)
            for key in await _keys(wire, LUA_NAMES["followers"])
        },
        waiting_for={
            name: key.removeprefix(LUA_NAMES["waiting_jobs"])
            for key in await _keys(wire, LUA_NAMES["waiting_jobs"])
            for name in await _scored(wire, key)
        },
        inputs={
            key.removeprefix(LUA_NAMES["dedup"]): _input(await _raw(wire, key))
            for key in await _keys(wire, LUA_NAMES["dedup"])
        },
    )


def _input(held: dict[bytes, bytes]) -> DedupState:
    leader = held[b"leader"].decode() if b"leader" in held else None
    if b"source" not in held:
        return DedupState(leader)
    worth = int(held[b"cost"]) if held[b"cost"] else None
    source = held[b"source"].decode()
    return DedupState(leader, source, worth, int(held[b"expires_at"]))


async def _read_queues(wire: RedisClient) -> dict[tuple[str, str], tuple[str, ...]]:
    prefix, found = LUA_NAMES["queue_jobs"], {}
    for key in await _keys(wire, prefix):
        tenant, _, model = key.removeprefix(prefix).partition(":")
        found[tenant, model] = tuple(await _scored(wire, key))
    return found


async def _records(wire: RedisClient) -> dict[str, dict[bytes, bytes]]:
    names = [n.removeprefix(keys.JOB_PREFIX) for n in await _keys(wire, keys.JOB_PREFIX)]
    return {name: await _raw(wire, keys.job(name)) for name in names if ":" not in name}


async def _raw(wire: RedisClient, key: str) -> dict[bytes, bytes]:
    flat = await wire.execute("HGETALL", key)
    return dict(zip(flat[::2], flat[1::2], strict=True))


async def _keys(wire: RedisClient, prefix: str) -> list[str]:
    return [name.decode() for name in await wire.execute("KEYS", prefix + "*")]


async def _hash(wire: RedisClient, key: str) -> dict[str, str]:
    flat = await wire.execute("HGETALL", key)
    return {n.decode(): v.decode() for n, v in zip(flat[::2], flat[1::2], strict=True)}


async def _scored(wire: RedisClient, key: str) -> dict[str, float]:
    flat = await wire.execute("ZRANGE", key, 0, -1, "WITHSCORES")
    return {n.decode(): float(v) for n, v in zip(flat[::2], flat[1::2], strict=True)}
