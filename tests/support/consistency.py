"""Recounts from the job records what the scripts keep in counters and indexes."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from core.billing.settlement import ReservationTotals
from core.billing.usage import UsageTotals, usage_of_job
from core.billing.usage_history import MAX_ROWS, rows_of_job
from core.jobs.job import Job, JobState
from core.store import keys
from core.store.client import RedisClient
from core.store.codecs import JOB_CODEC
from core.store.keys import LUA_NAMES
from core.tenants.windows import window_names
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


async def windows(wire: RedisClient) -> dict[str, UsageTotals]:
    """The usage in all windows, and in all rows of all days, by key and row."""
    found = {}
    for pattern in (keys.usage("*"), keys.usage_history("*", "*")):
        for key in await wire.execute("KEYS", pattern):
            flat = await wire.execute("HGETALL", key)
            for name, text in zip(flat[::2], flat[1::2], strict=True):
                if not name.startswith(b"#"):
                    found[f"{key.decode()} {name.decode()}"] = UsageTotals.parse(text)
    return _fold_many_rows(found)


def windows_of(held: list[JobAccounting]) -> dict[str, UsageTotals]:
    """The same, computed from the records."""
    sums: defaultdict[str, UsageTotals] = defaultdict(UsageTotals)
    for each in held:
        job, counted = each.job, usage_of_job(each.job, ReservationTotals(**each.booked))
        for name in window_names(job.usage_day):
            sums[f"{keys.usage(job.tenant)} {name}"] += counted
        day = keys.usage_history(job.tenant, f"{job.usage_day:%Y%m%d}")
        for name in rows_of_job(job):
            sums[f"{day} {name}"] += counted
    return _fold_many_rows(sums)


def _fold_many_rows(sums: Mapping[str, UsageTotals]) -> dict[str, UsageTotals]:
    """Return the sums, with one for a day's dimension that has more values than rows.

    Which of its values have a row of their own depends on the order of the jobs.
    """
    by_dimension = {name: name.split("|", 1)[0] for name in sums}
    sizes = Counter(by_dimension.values())
    folded: defaultdict[str, UsageTotals] = defaultdict(UsageTotals)
    for name, used in sums.items():
        dimension = by_dimension[name]
        folded[dimension if sizes[dimension] > MAX_ROWS else name] += used
    return dict(folded)


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
    paused = {name.decode() for name in await wire.execute("HKEYS", keys.PAUSES)}
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
