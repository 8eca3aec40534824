"""An admission costs the same however many jobs wait and however many tenants there are."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

import pytest

from core.store import keys
from core.store.client import RedisClient
from core.tenants.limits import GlobalLimits
from tests.support.fair_queue import fill_queue
from tests.support.redis import redis_client
from tests.support.store_harness import (
    EVERY_LIMIT,
    MODEL,
    UNREACHABLE_LIMIT,
    StoreHarness,
    redis_harness,
)

TENANTS: Final = 1000


LOADS: Final = (1, 1_000, 100_000)


BATCHES: Final = 40


BATCH: Final = 25


@dataclass(frozen=True, slots=True)
class AdmissionBench:
    """Stores whose tenant `t0` has waiting jobs."""

    gateway: StoreHarness
    wire: RedisClient

    async def fill(self, waiting: int) -> None:
        """Let jobs of `t0` wait: one real job, and entries of the queue behind it."""
        held = int(await self.wire.execute("HGET", keys.WAITING, "t0") or 0)
        await fill_queue(self.wire, "t0", MODEL, waiting - held)

    async def commands(self, tenant: str) -> int:
        """The number of commands that one admission runs inside Redis."""
        await self.wire.execute("CONFIG", "RESETSTAT")
        await self.gateway.submit(tenant)
        stats = await self._stats()
        return sum(calls for name, (calls, _) in stats.items() if name != "config|resetstat")

    async def microseconds(self, tenants: Sequence[str]) -> list[float]:
        """The script's time in Redis per call, for each batch of calls."""
        found = []
        for start in range(BATCHES):
            await self.wire.execute("CONFIG", "RESETSTAT")
            for number in range(BATCH):
                await self.gateway.submit(tenants[(start * BATCH + number) % len(tenants)])
            calls, spent = (await self._stats())["evalsha"]
            found.append(spent / calls)
        return found

    async def _stats(self) -> dict[str, tuple[int, float]]:
        text = (await self.wire.execute("INFO", "commandstats")).decode()
        found = {}
        for line in text.splitlines():
            name, _, rest = line.partition(":")
            if rest:
                fields = dict(part.split("=") for part in rest.split(","))
                figures = int(fields["calls"]), float(fields["usec"])
                found[name.removeprefix("cmdstat_")] = figures
        return found


@pytest.fixture
async def admission_bench(redis_flushed: str) -> AsyncIterator[AdmissionBench]:
    async with redis_client(redis_flushed) as wire:
        gateway = redis_harness(wire)
        await gateway.admin.set_limits(GlobalLimits(running=1))
        await gateway.tenant("t0", EVERY_LIMIT)
        for _ in range(2):
            await gateway.submit("t0")
        yield AdmissionBench(gateway, wire)


async def _thousand(admission_bench: AdmissionBench) -> list[str]:
    """Add a thousand tenants, each with a waiting job."""
    names = [f"t{number}" for number in range(1, TENANTS + 1)]
    await asyncio.gather(*(admission_bench.gateway.tenant(name, EVERY_LIMIT) for name in names))
    await asyncio.gather(*(admission_bench.gateway.submit(name) for name in names))
    return names


async def test_no_load_adds_a_command(admission_bench: AdmissionBench) -> None:
    found = {}
    for load in LOADS:
        await admission_bench.fill(load)
        found[f"{load} waiting"] = await admission_bench.commands("t0")
    names = await _thousand(admission_bench)
    found[f"{TENANTS} tenants"] = await admission_bench.commands(names[500])
    print(f"\ncommands inside Redis by load: {found}")
    assert len(set(found.values())) == 1


async def test_a_job_that_runs_at_once_costs_no_more_with_more_tenants(
    admission_bench: AdmissionBench,
) -> None:
    await admission_bench.gateway.admin.set_limits(GlobalLimits())
    await admission_bench.gateway.tenant("alone", EVERY_LIMIT)
    few = await admission_bench.commands("alone")
    await _thousand(admission_bench)
    await admission_bench.gateway.tenant("crowd", EVERY_LIMIT)
    assert await admission_bench.commands("crowd") == few


@pytest.mark.bench
@pytest.mark.timeout(600)
async def test_the_time_of_an_admission_by_load(admission_bench: AdmissionBench) -> None:
    print(f"\n{'load':34}{'min':>8}{'median':>8}  microseconds in Redis")
    await admission_bench.gateway.admin.set_limits(GlobalLimits(running=UNREACHABLE_LIMIT))
    free = [f"free{number}" for number in range(BATCH * BATCHES)]
    await asyncio.gather(*(admission_bench.gateway.tenant(name, EVERY_LIMIT) for name in free))
    _print_cost("runs at once", await admission_bench.microseconds(free))
    await admission_bench.gateway.admin.set_limits(GlobalLimits(running=1))
    for load in LOADS:
        await admission_bench.fill(load)
        _print_cost(f"{load} waiting", await admission_bench.microseconds(["t0"]))
    names = await _thousand(admission_bench)
    _print_cost(
        f"{LOADS[-1]} waiting, {TENANTS} tenants", await admission_bench.microseconds(names)
    )


def _print_cost(load: str, found: list[float]) -> None:
    print(f"{load:34}{min(found):8.1f}{median(found):8.1f}")
