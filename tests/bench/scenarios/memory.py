"""Bytes in Redis per job and per delivery: `python -m tests.bench.scenarios.memory [jobs]`."""

import asyncio
import sys
from collections import Counter
from functools import partial
from typing import Final

from simulator.private_redis import private_redis
from tests.bench.concurrency import run_in_batches
from tests.bench.redis_usage import (
    INPUT,
    OUTPUT,
    StoreUsageHarness,
    open_usage_harness,
)
from tests.support.redis import take_messages

JOBS: Final = 10_000
SAMPLE: Final = 200


async def measure(url: str, jobs: int, *, packed: bool) -> None:
    """Fill and print."""
    async with open_usage_harness(url, packed=packed) as harness:
        await _warm(harness)
        how = "packed" if packed else "as Redis packs them by default"
        print(f"\ninput {len(INPUT)} B, output {len(OUTPUT)} B, {jobs} jobs; hashes {how}")
        before = await _read_usage(harness)
        taken = await run_in_batches([partial(harness.admit, number) for number in range(jobs)])
        await take_messages(harness.wire)
        await _print_difference("a job that waits", harness, before, jobs)
        started = await run_in_batches([partial(harness.start, job) for job in taken])
        await _print_difference("a job that runs", harness, before, jobs)
        await run_in_batches([partial(harness.finish, job) for job in started])
        ended = await _print_difference("a job that has ended", harness, before, jobs)
        taken = await run_in_batches([partial(harness.admit, n, hook=True) for n in range(jobs)])
        started = await run_in_batches([partial(harness.start, job) for job in taken])
        await run_in_batches([partial(harness.finish, job) for job in started])
        await take_messages(harness.wire)
        assert await harness.deliver() == jobs
        told = await _print_difference("another, and its callback", harness, ended, jobs)
        taken = await run_in_batches(
            [partial(harness.admit, n, cache=True) for n in range(1, jobs + 1)]
        )
        started = await run_in_batches([partial(harness.start, job) for job in taken])
        await take_messages(harness.wire)
        await run_in_batches([partial(harness.finish, job) for job in started])
        stored = await _print_difference(
            "another, with its result stored for others", harness, told, jobs
        )
        more = (stored[0] - told[0] - ended[0] + before[0]) / jobs
        print(f"\nso a stored result costs {more:8.0f} B")
        print(f"so a callback costs {(told[0] - 2 * ended[0] + before[0]) / jobs:8.0f} B")
        print(f"1,000,000 ended jobs: {(ended[0] - before[0]) / jobs / 1000:8.2f} GB")


async def _warm(harness: StoreUsageHarness) -> None:
    """The memory that does not depend on the number of jobs: scripts, windows, histories."""
    job = await harness.start(await harness.admit(0, hook=True))
    await harness.finish(job)
    await harness.deliver()
    await take_messages(harness.wire)


MemoryUsage = tuple[int, "Counter[str]"]


async def _read_usage(harness: StoreUsageHarness) -> MemoryUsage:
    return await harness.memory(), await harness.families(SAMPLE)


async def _print_difference(
    what: str, harness: StoreUsageHarness, before: MemoryUsage, jobs: int
) -> MemoryUsage:
    now = await _read_usage(harness)
    print(f"\n{what:44}{(now[0] - before[0]) / jobs:8.0f} B")
    for row, size in (now[1] - before[1]).most_common(12):
        share = (size - before[1][row]) / jobs if row not in now[1] else size / jobs
        if share >= 1:
            print(f"  {row:42}{share:8.0f} B")
    return now


def main() -> None:
    """Run over a private Redis."""
    jobs = int(sys.argv[1]) if len(sys.argv) > 1 else JOBS
    for packed in (False, True):
        with private_redis() as server:
            asyncio.run(measure(server.url, jobs, packed=packed))


if __name__ == "__main__":
    main()
