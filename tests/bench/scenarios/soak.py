"""Checks that memory is freed after waves of jobs: `python -m tests.bench.scenarios.soak`.

Each wave is admitted, runs, ends and is delivered; then its retention passes: the stores' clock is
moved, and the TTLs in Redis are shortened by as much, so that Redis frees the keys itself.
"""

import asyncio
import sys
import time
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import Final

from core.retention import DELIVERY_RETENTION, RETENTION
from simulator.private_redis import private_redis
from tests.bench.concurrency import run_in_batches
from tests.bench.redis_usage import StoreUsageHarness, open_usage_harness
from tests.support.redis import every_key, take_messages
from worker.maintenance.index_pruning import IndexPruner, PrunePolicy

WARMING: Final = 2
WAVES: Final = 8
JOBS: Final = 4_000
DELIVERIES_PER_WAVE: Final = 4
"""One job in so many has a webhook; one in as many is cancelled while it waits."""
MAX_GROWTH: Final = 0.05
SHORT: Final = 50
"""Milliseconds that remain of a TTL which has been shortened to its end."""


async def run_wave(harness: StoreUsageHarness, first: int) -> None:
    """Run one wave."""
    taken = await run_in_batches(
        [
            partial(harness.admit, n, hook=n % DELIVERIES_PER_WAVE == 0)
            for n in range(first, first + JOBS)
        ]
    )
    await take_messages(harness.wire)
    started = await run_in_batches([partial(harness.start, job) for job in taken])
    harness.clock.shift(timedelta(seconds=40))
    await run_in_batches([partial(harness.finish, job) for job in started])
    await harness.deliver()


async def advance_time(harness: StoreUsageHarness, span: timedelta) -> None:
    """Let `span` pass: keys that end within it are expired soon by Redis itself."""
    harness.clock.shift(span)
    names, milliseconds = await every_key(harness.wire), span // timedelta(milliseconds=1)
    lives = await run_in_batches([partial(harness.wire.execute, "PTTL", name) for name in names])
    await run_in_batches(
        [
            partial(harness.wire.execute, "PEXPIRE", name, max(SHORT, life - milliseconds))
            for name, life in zip(names, lives, strict=True)
            if life >= 0
        ]
    )
    await _wait_until_freed(harness)


async def _wait_until_freed(harness: StoreUsageHarness) -> None:
    """Wait while Redis frees expired keys, a few at a time."""
    before = -1
    while (now := await harness.wire.execute("DBSIZE")) != before:
        before = now
        await asyncio.sleep(1.0)


async def soak(url: str, waves: int) -> Sequence[int]:
    """Print the curve; returns the memory at the start and after each wave's end."""
    async with open_usage_harness(url) as harness:
        trimmer = IndexPruner(
            "soak", harness.backend.job_index, harness.backend.tenants, harness.clock, POLICY
        )
        print(f"{'wave':>6}{'full MB':>10}{'freed MB':>10}{'trimmed MB':>12}{'keys':>8}{'s':>7}")
        rest: list[int] = []
        for wave in range(WARMING + waves):
            began = time.monotonic()
            await run_wave(harness, wave * JOBS)
            full = await harness.memory()
            await advance_time(harness, RETENTION + timedelta(hours=1))
            await advance_time(harness, DELIVERY_RETENTION)
            freed = await harness.memory()
            await harness.wire.execute("DEL", "gw:prune_lock")
            await trimmer.run_once()
            rest.append(await harness.memory())
            keys = len(await every_key(harness.wire))
            row = f"{full / 1e6:10.2f}{freed / 1e6:10.2f}{rest[-1] / 1e6:12.2f}{keys:8}"
            name = "warm" if wave < WARMING else str(wave + 1 - WARMING)
            print(f"{name:>6}{row}{time.monotonic() - began:7.1f}", flush=True)
        return rest


POLICY: Final = PrunePolicy()


def main() -> None:
    """Run over a private Redis; the exit code is 0 if the memory was freed.

    The first waves warm up: scripts, windows, histories and buffers are created once.
    """
    waves = int(sys.argv[1]) if len(sys.argv) > 1 else WAVES
    with private_redis() as server:
        start, *rest = asyncio.run(soak(server.url, waves))[WARMING - 1 :]
    drift = max(abs(after - start) / start for after in rest)
    print(f"largest distance from the start: {drift:.1%}")
    sys.exit(drift > MAX_GROWTH)


if __name__ == "__main__":
    main()
