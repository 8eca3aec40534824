"""Recounts from the job records what the scripts keep in counters and indexes."""

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Final

from core.jobs.job import Job, JobState
from core.store import keys
from core.store.client import RedisClient
from core.store.codecs import JOB_CODEC
from core.store.keys import LUA_NAMES
from core.tenants.limits import usage_windows_at
from tests.support import queue_state

AMOUNTS: Final = ("reserved", "settled", "released")


@dataclass(frozen=True, slots=True)
class JobAccounting:
    """A job's record with its amounts, and whether it has a slot."""

    job: Job
    has_slot: bool
    booked: dict[str, int]


async def records(wire: RedisClient) -> list[JobAccounting]:
    """All jobs in Redis."""
    found = []
    for name in await wire.execute("KEYS", keys.JOB_PREFIX + "*"):
        if name.count(b":") == keys.JOB_PREFIX.count(":"):
            row = await wire.execute("HMGET", name, "doc", "slot", *AMOUNTS)
            booked = {k: int(v or 0) for k, v in zip(AMOUNTS, row[2:], strict=True)}
            found.append(JobAccounting(JOB_CODEC.decode(row[0]), row[1] == b"1", booked))
    return found


async def windows(wire: RedisClient) -> dict[str, dict[str, int]]:
    """The figures of all usage windows by key, without zeros."""
    found = {}
    for name in await wire.execute("KEYS", keys.usage("*", "*")):
        flat = await wire.execute("HGETALL", name)
        figures = {n.decode(): int(v) for n, v in zip(flat[::2], flat[1::2], strict=True)}
        found[name.decode()] = {n: figure for n, figure in figures.items() if figure}
    return found


def windows_of(held: list[JobAccounting]) -> dict[str, dict[str, int]]:
    """The same figures, computed from the records."""
    sums: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for each in held:
        for span in usage_windows_at(each.job.created_at):
            window = sums[keys.usage(each.job.tenant, span.name)]
            for name, figure in (_reuse(each.job) | each.booked).items():
                window[name] += figure
                window[f"{name}|{each.job.model_id}"] += figure
    return {key: {n: f for n, f in window.items() if f} for key, window in sums.items()}


def _reuse(job: Job) -> dict[str, int]:
    served = job.state is JobState.SUCCEEDED and job.leader is not None
    return {"jobs": 1, "reused": int(served), "saved": int(job.cost_saved or 0) if served else 0}


async def find_inconsistencies(wire: RedisClient) -> list[str]:
    """All inconsistencies as sentences. Nothing may write to Redis meanwhile."""
    held, seen = await records(wire), await queue_state.read_redis(wire)
    found = []
    if await windows(wire) != windows_of(held):
        found.append(f"windows are {await windows(wire)}, by the jobs {windows_of(held)}")
    slots = Counter(
        name
        for each in held
        if each.has_slot
        for name in ("all", f"tenant:{each.job.tenant}", f"model:{each.job.model_id}")
    )
    if seen.running != slots:
        found.append(f"slots are counted {seen.running}, and are {slots}")
    waiting = Counter({tenant: 0 for tenant, _ in seen.queues})
    for (tenant, _), lane in seen.queues.items():
        waiting[tenant] += len(lane)
    if seen.waiting != waiting:
        found.append(f"waiting are counted {seen.waiting}, and are {waiting}")
    placed = [each for each in held if each.job.state is not JobState.FOLLOWING]
    lost = {each.job.id for each in placed if not each.job.is_final and not each.has_slot}
    lost ^= {name for lane in seen.queues.values() for name in lane}
    waiting_for = {each.job.id: each.job.waiting_for for each in held if each.job.waiting_for}
    lost ^= set(waiting_for)
    if seen.waiting_for != waiting_for:
        found.append(f"jobs are indexed as {seen.waiting_for}, and wait for {waiting_for}")
    found += [f"{name} is open without a slot or a place, or closed with one" for name in lost]
    return found + await _find_stuck_queues(wire, seen)


async def _find_stuck_queues(wire: RedisClient, seen: queue_state.QueueState) -> list[str]:
    """Queues that dispatch does not see, and idle slots while a job may run."""
    found = []
    paused = {name.decode() for name in await wire.execute("SMEMBERS", keys.PAUSES)}
    for tenant, model in seen.queues:
        own = await wire.execute("HGET", keys.tenant(tenant), "running")
        of_model = await wire.execute("HGET", keys.LIMITS, f"model:{model}")
        in_turns = tenant in seen.next_tenants.get(model, {})
        in_lanes = await wire.execute("ZSCORE", LUA_NAMES["queue_models"] + tenant, model)
        tenant_open = _open(f"tenant:{tenant}", own, paused, seen)
        if in_lanes is None or in_turns != tenant_open:
            found.append(f"the queue of {tenant} for {model} is in the wrong index")
        may_run = tenant_open and _open(f"model:{model}", of_model, paused, seen)
        if may_run and model not in seen.queue_heads:
            found.append(f"{model} is open and {tenant} waits for it, unseen")
        everything = await wire.execute("HGET", keys.LIMITS, "running")
        if may_run and _open("all", everything, paused, seen):
            found.append(f"a slot is idle while {tenant} waits for {model}")
    return found


def _open(what: str, cap: bytes | None, paused: set[str], seen: queue_state.QueueState) -> bool:
    return what not in paused and (not cap or seen.running.get(what, 0) < int(cap))
