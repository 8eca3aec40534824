"""What can be seen of waiting, slots and money, in the twin and in Redis, in one form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from core.store import keys
from core.store.keys import LUA_NAMES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from core.store.connection import Wire
    from tests.fakes.memory import Memory

VIRTUAL_NOW: Final = "@now"
ARRIVALS: Final = "@age"


@dataclass(frozen=True, slots=True)
class Observed:
    """The whole state that dispatch goes by, and what it has done."""

    due: Mapping[str, int]
    bell: frozenset[str]
    states: Mapping[str, int]
    running: Mapping[str, int]
    waiting: Mapping[str, int]
    tags: Mapping[str, float]
    virtual_now: float
    slots: frozenset[str]
    lanes: Mapping[tuple[str, str], tuple[str, ...]]
    turns: Mapping[str, Mapping[str, float]]
    """By model, the tags of those with jobs of it that are neither full nor paused."""
    heads: Mapping[str, float]
    """The first tag of each model that is neither full nor paused."""


def in_memory(memory: Memory) -> Observed:
    """The twin's."""
    turns = memory.turns
    tenants = {place.tenant for place in turns.waiting.values()}
    lanes: dict[tuple[str, str], list[tuple[int, int, str]]] = {}
    for name, place in turns.waiting.items():
        lane = lanes.setdefault((place.tenant, place.model), [])
        lane.append((place.priority, place.number, name))
    in_turn: dict[str, dict[str, float]] = {}
    for tenant, model in lanes:
        if not turns.closed(f"tenant:{tenant}"):
            in_turn.setdefault(model, {})[tenant] = turns.tags[tenant]
    return Observed(
        due=dict(memory.due),
        bell=frozenset(memory.bell),
        states={name: number for name, number in memory.states.items() if number},
        running=dict(turns.running()),
        waiting={tenant: turns.waits(tenant) for tenant in tenants},
        tags=dict(turns.tags),
        virtual_now=turns.virtual_now,
        slots=frozenset(turns.slots),
        lanes={key: tuple(name for *_, name in sorted(lane)) for key, lane in lanes.items()},
        turns=in_turn,
        heads={
            model: min(tags.values())
            for model, tags in in_turn.items()
            if not turns.closed(f"model:{model}")
        },
    )


async def in_redis(wire: Wire) -> Observed:
    """What Redis holds."""
    fair = await _hash(wire, keys.FAIR)
    fair.pop(ARRIVALS, None)
    virtual_now = float(fair.pop(VIRTUAL_NOW, 0))
    return Observed(
        due={name: int(score) for name, score in (await _scored(wire, keys.DUE)).items()},
        bell=frozenset(await _scored(wire, keys.BELL)),
        states={n: int(v) for n, v in (await _hash(wire, keys.STATES)).items() if int(v)},
        running={n: int(v) for n, v in (await _hash(wire, keys.RUNNING)).items()},
        waiting={n: int(v) for n, v in (await _hash(wire, keys.WAITING)).items()},
        tags={name: float(tag) for name, tag in fair.items()},
        virtual_now=virtual_now,
        slots=await _slots(wire),
        lanes=await _lanes(wire),
        turns={
            key.removeprefix(LUA_NAMES["turns"]): await _scored(wire, key)
            for key in await _keys(wire, LUA_NAMES["turns"])
        },
        heads=await _scored(wire, LUA_NAMES["heads"]),
    )


async def _lanes(wire: Wire) -> dict[tuple[str, str], tuple[str, ...]]:
    prefix, found = LUA_NAMES["wait"], {}
    for key in await _keys(wire, prefix):
        tenant, _, model = key.removeprefix(prefix).partition(":")
        found[tenant, model] = tuple(await _scored(wire, key))
    return found


async def _slots(wire: Wire) -> frozenset[str]:
    names = [n.removeprefix(keys.JOB_PREFIX) for n in await _keys(wire, keys.JOB_PREFIX)]
    records = [name for name in names if ":" not in name]
    held = [await wire.execute("HGET", keys.job(name), "slot") for name in records]
    return frozenset(name for name, slot in zip(records, held, strict=True) if slot == b"1")


async def _keys(wire: Wire, prefix: str) -> list[str]:
    return [name.decode() for name in await wire.execute("KEYS", prefix + "*")]


async def _hash(wire: Wire, key: str) -> dict[str, str]:
    flat = await wire.execute("HGETALL", key)
    return {n.decode(): v.decode() for n, v in zip(flat[::2], flat[1::2], strict=True)}


async def _scored(wire: Wire, key: str) -> dict[str, float]:
    flat = await wire.execute("ZRANGE", key, 0, -1, "WITHSCORES")
    return {n.decode(): float(v) for n, v in zip(flat[::2], flat[1::2], strict=True)}
