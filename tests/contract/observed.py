"""What can be seen of waiting, slots and money, in the twin and in Redis, in one form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from core.store import keys
from core.store.keys import LUA_NAMES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from core.store.client import Wire
    from tests.fakes.memory import Memory

VIRTUAL_NOW: Final = "@now"
ARRIVALS: Final = "@age"


@dataclass(frozen=True, slots=True)
class Input:
    """Who leads, and what may be reused: of which job, worth what, until when."""

    leader: str | None
    source: str | None = None
    worth: int | None = None
    until: int | None = None


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
    leaders: Mapping[str, str]
    """Whom each follower follows."""
    followers: Mapping[str, Mapping[str, float]]
    """Of each job that is followed, the ends of its followers' times."""
    inputs: Mapping[str, Input]
    """What is known of each canonical input, by scope and fingerprint."""


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
        leaders=dict(memory.flights.leaders),
        followers={name: dict(each) for name, each in memory.flights.followers.items() if each},
        inputs=_inputs(memory),
    )


def _inputs(memory: Memory) -> dict[str, Input]:
    found = {}
    for (scope, fingerprint), once in memory.flights.inputs.items():
        kept = once.kept
        if kept is not None:
            worth = None if kept.worth is None else int(kept.worth)
            found[f"{scope}:{fingerprint}"] = Input(once.leader, kept.source, worth, kept.until)
        elif once.leader is not None:
            found[f"{scope}:{fingerprint}"] = Input(once.leader)
    return found


async def in_redis(wire: Wire) -> Observed:
    """What Redis holds."""
    fair = await _hash(wire, keys.FAIR)
    fair.pop(ARRIVALS, None)
    virtual_now = float(fair.pop(VIRTUAL_NOW, 0))
    records = await _records(wire)
    return Observed(
        due={name: int(score) for name, score in (await _scored(wire, keys.DUE)).items()},
        bell=frozenset(await _scored(wire, keys.BELL)),
        states={n: int(v) for n, v in (await _hash(wire, keys.STATES)).items() if int(v)},
        running={n: int(v) for n, v in (await _hash(wire, keys.RUNNING)).items()},
        waiting={n: int(v) for n, v in (await _hash(wire, keys.WAITING)).items()},
        tags={name: float(tag) for name, tag in fair.items()},
        virtual_now=virtual_now,
        slots=frozenset(name for name, held in records.items() if held.get(b"slot") == b"1"),
        lanes=await _lanes(wire),
        turns={
            key.removeprefix(LUA_NAMES["turns"]): await _scored(wire, key)
            for key in await _keys(wire, LUA_NAMES["turns"])
        },
        heads=await _scored(wire, LUA_NAMES["heads"]),
        leaders={
            name: held[b"leader"].decode() for name, held in records.items() if b"leader" in held
        },
        followers={
            key.removeprefix(LUA_NAMES["followers"]): await _scored(wire, key)
            for key in await _keys(wire, LUA_NAMES["followers"])
        },
        inputs={
            key.removeprefix(LUA_NAMES["once"]): _input(await _raw(wire, key))
            for key in await _keys(wire, LUA_NAMES["once"])
        },
    )


def _input(held: dict[bytes, bytes]) -> Input:
    leader = held[b"leader"].decode() if b"leader" in held else None
    if b"source" not in held:
        return Input(leader)
    worth = int(held[b"cost"]) if held[b"cost"] else None
    source = held[b"source"].decode()
    return Input(leader, source, worth, int(held[b"until"]))


async def _lanes(wire: Wire) -> dict[tuple[str, str], tuple[str, ...]]:
    prefix, found = LUA_NAMES["wait"], {}
    for key in await _keys(wire, prefix):
        tenant, _, model = key.removeprefix(prefix).partition(":")
        found[tenant, model] = tuple(await _scored(wire, key))
    return found


async def _records(wire: Wire) -> dict[str, dict[bytes, bytes]]:
    names = [n.removeprefix(keys.JOB_PREFIX) for n in await _keys(wire, keys.JOB_PREFIX)]
    return {name: await _raw(wire, keys.job(name)) for name in names if ":" not in name}


async def _raw(wire: Wire, key: str) -> dict[bytes, bytes]:
    flat = await wire.execute("HGETALL", key)
    return dict(zip(flat[::2], flat[1::2], strict=True))


async def _keys(wire: Wire, prefix: str) -> list[str]:
    return [name.decode() for name in await wire.execute("KEYS", prefix + "*")]


async def _hash(wire: Wire, key: str) -> dict[str, str]:
    flat = await wire.execute("HGETALL", key)
    return {n.decode(): v.decode() for n, v in zip(flat[::2], flat[1::2], strict=True)}


async def _scored(wire: Wire, key: str) -> dict[str, float]:
    flat = await wire.execute("ZRANGE", key, 0, -1, "WITHSCORES")
    return {n.decode(): float(v) for n, v in zip(flat[::2], flat[1::2], strict=True)}
