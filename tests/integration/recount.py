"""Counts again, from the jobs' records, what the scripts keep in counters and indexes."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from core.jobs.job import JobState
from core.store import keys
from core.store.codecs import JOBS
from core.store.keys import LUA_NAMES
from core.tenants.limits import spans_at
from tests.contract import observed

if TYPE_CHECKING:
    from core.jobs.job import Job
    from core.store.client import Wire

FIGURES: Final = ("reserved", "settled", "released")


@dataclass(frozen=True, slots=True)
class Held:
    """A job's record, with what it has booked and whether it has a slot."""

    job: Job
    slot: bool
    booked: dict[str, int]


async def records(wire: Wire) -> list[Held]:
    """Every job that Redis has."""
    found = []
    for name in await wire.execute("KEYS", keys.JOB_PREFIX + "*"):
        if name.count(b":") == keys.JOB_PREFIX.count(":"):
            row = await wire.execute("HMGET", name, "doc", "slot", *FIGURES)
            booked = {k: int(v or 0) for k, v in zip(FIGURES, row[2:], strict=True)}
            found.append(Held(JOBS.read(row[0]), row[1] == b"1", booked))
    return found


async def windows(wire: Wire) -> dict[str, dict[str, int]]:
    """Every window's figures, noughts left out, by the window's key."""
    found = {}
    for name in await wire.execute("KEYS", keys.use("*", "*")):
        flat = await wire.execute("HGETALL", name)
        figures = {n.decode(): int(v) for n, v in zip(flat[::2], flat[1::2], strict=True)}
        found[name.decode()] = {n: figure for n, figure in figures.items() if figure}
    return found


def windows_of(held: list[Held]) -> dict[str, dict[str, int]]:
    """The same, by the records."""
    sums: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for each in held:
        for span in spans_at(each.job.created_at):
            window = sums[keys.use(each.job.tenant, span.name)]
            for name, figure in (_reuse(each.job) | each.booked).items():
                window[name] += figure
                window[f"{name}|{each.job.model_id}"] += figure
    return {key: {n: f for n, f in window.items() if f} for key, window in sums.items()}


def _reuse(job: Job) -> dict[str, int]:
    served = job.state is JobState.SUCCEEDED and job.leader is not None
    return {"jobs": 1, "reused": int(served), "saved": int(job.saved or 0) if served else 0}


async def breaches(wire: Wire) -> list[str]:
    """What does not agree, in words. Redis must be quiet."""
    held, seen = await records(wire), await observed.in_redis(wire)
    found = []
    if await windows(wire) != windows_of(held):
        found.append(f"windows are {await windows(wire)}, by the jobs {windows_of(held)}")
    slots = Counter(
        name
        for each in held
        if each.slot
        for name in ("all", f"tenant:{each.job.tenant}", f"model:{each.job.model_id}")
    )
    if seen.running != slots:
        found.append(f"slots are counted {seen.running}, and are {slots}")
    waiting = Counter({tenant: 0 for tenant, _ in seen.lanes})
    for (tenant, _), lane in seen.lanes.items():
        waiting[tenant] += len(lane)
    if seen.waiting != waiting:
        found.append(f"waiting are counted {seen.waiting}, and are {waiting}")
    placed = [each for each in held if each.job.state is not JobState.FOLLOWING]
    lost = {each.job.id for each in placed if not each.job.final and not each.slot}
    lost ^= {name for lane in seen.lanes.values() for name in lane}
    found += [f"{name} is open without a slot or a place, or closed with one" for name in lost]
    return found + await _hidden(wire, seen)


async def _hidden(wire: Wire, seen: observed.Observed) -> list[str]:
    """Lanes that nobody looks at, and slots that stand idle while a job may run."""
    found = []
    paused = {name.decode() for name in await wire.execute("SMEMBERS", keys.PAUSES)}
    for tenant, model in seen.lanes:
        own = await wire.execute("HGET", keys.tenant(tenant), "running")
        of_model = await wire.execute("HGET", keys.LIMITS, f"model:{model}")
        in_turns = tenant in seen.turns.get(model, {})
        in_lanes = await wire.execute("ZSCORE", LUA_NAMES["lanes"] + tenant, model)
        tenant_open = _open(f"tenant:{tenant}", own, paused, seen)
        if in_lanes is None or in_turns != tenant_open:
            found.append(f"the lane of {tenant} for {model} is not where it belongs")
        may_run = tenant_open and _open(f"model:{model}", of_model, paused, seen)
        if may_run and model not in seen.heads:
            found.append(f"{model} is open and {tenant} waits for it, unseen")
        everything = await wire.execute("HGET", keys.LIMITS, "running")
        if may_run and _open("all", everything, paused, seen):
            found.append(f"a slot is idle while {tenant} waits for {model}")
    return found


def _open(what: str, cap: bytes | None, paused: set[str], seen: observed.Observed) -> bool:
    return what not in paused and (not cap or seen.running.get(what, 0) < int(cap))
