"""Time to list a page among a million jobs: `python -m tests.bench.scenarios.listing [jobs]`."""

import asyncio
import sys
import time
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from statistics import quantiles
from typing import Final

from core.clock import to_ms
from core.jobs.job import BillingStatus, Job, JobState, PublicStatus
from core.jobs.query import Cursor, JobQuery, reference_score, score_of
from core.money import MicroUsd
from core.page import Page
from core.store import keys
from core.store.codecs import JOB_CODEC
from simulator.private_redis import private_redis
from tests.bench.concurrency import run_in_batches
from tests.bench.redis_usage import (
    MODEL,
    TENANT,
    TRACE,
    StoreUsageHarness,
    open_usage_harness,
)

JOBS_IN_ALL: Final = 1_000_000
CHUNK: Final = 5_000
CALLS: Final = 200
OTHER: Final = "flux/dev/text-to-image"
RARE: Final = "wan/2.2/rare-one"
EVERY: Final = timedelta(milliseconds=600)
"""A million in a week."""

_FILL: Final = """
local index, references = KEYS[1], KEYS[2]
for at = 1, #ARGV, 5 do
  local id, doc, place, status, number = unpack(ARGV, at, at + 4)
  redis.call('HSET', 'gw:job:' .. id, 'version', 6, 'doc', doc)
  redis.call('ZADD', index, place, id)
  redis.call('ZADD', references, number, id)
  if status ~= 'completed' then redis.call('ZADD', index .. ':' .. status, place, id) end
end
"""


@dataclass(frozen=True, slots=True)
class JobMix:
    """A kind of job; one in `share` jobs is of it."""

    share: int
    state: JobState
    model: str = MODEL


KINDS: Final = (
    JobMix(250_000, JobState.SUCCEEDED, RARE),
    JobMix(20_000, JobState.RUNNING),
    JobMix(5_000, JobState.QUEUED),
    JobMix(200, JobState.CANCELLED),
    JobMix(50, JobState.FAILED),
    JobMix(10, JobState.SUCCEEDED, OTHER),
    JobMix(1, JobState.SUCCEEDED),
)


def build_job(number: int, began: datetime) -> Job:
    """The job with that number; the first of each kind is near the beginning."""
    kind = next(kind for kind in KINDS if number % kind.share == kind.share // 3)
    made = began + number * EVERY
    final = kind.state not in {JobState.RUNNING, JobState.QUEUED}
    return Job(
        id=f"req_{to_ms(made):026}",
        tenant=TENANT,
        model_id=kind.model,
        fingerprint="1:" + "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        created_at=made,
        updated_at=made,
        state=kind.state,
        version=6,
        reference=f"order-{number:08}",
        trace=TRACE,
        estimate=MicroUsd(630_000),
        attempts=1,
        upstream_id="0b6f6a52-9d0e-4c1b-8a53-0d6c9c1f7a11",
        upstream_running=kind.state is JobState.RUNNING,
        finished_at=made if final else None,
        billed=BillingStatus.YES if final else BillingStatus.UNKNOWN,
        cost=MicroUsd(630_000) if final else None,
    )


async def fill(harness: StoreUsageHarness, first: int, until: int) -> None:
    """Write jobs as their admission and changes would, without what a list never reads."""
    began = harness.clock.now()
    for start in range(first, until, CHUNK):
        arguments: list[str | bytes | float] = []
        for number in range(start, min(until, start + CHUNK)):
            job = build_job(number, began)
            named = reference_score(job.reference or "")
            arguments += [job.id, JOB_CODEC.encode(job), score_of(job), job.status, named]
        index = keys.tenant_jobs(TENANT)
        await harness.wire.execute("EVAL", _FILL, 2, index, keys.references(TENANT), *arguments)


async def time_query(harness: StoreUsageHarness, what: str, query: JobQuery) -> Page[Job, Cursor]:
    """Read the page repeatedly and print the time that it takes."""
    listed, took = harness.backend.job_index, []
    await harness.wire.execute("CONFIG", "RESETSTAT")
    page = await listed.list_page_for_tenant(TENANT, query)
    for _ in range(CALLS):
        began = time.perf_counter()
        page = await listed.list_page_for_tenant(TENANT, query)
        took.append((time.perf_counter() - began) * 1000)
    stats = (await harness.wire.execute("INFO", "commandstats")).decode()
    row = next(line for line in stats.splitlines() if line.startswith("cmdstat_evalsha:"))
    inside = float(row.partition("usec_per_call=")[2].partition(",")[0]) / 1000
    cuts = quantiles(took, n=100)
    more = "more" if page.cursor else "end"
    print(f"{what:44}{len(page.items):5} {more:5}{cuts[49]:8.2f}{cuts[98]:8.2f}{inside:9.2f}")
    return page


async def follow_pages(harness: StoreUsageHarness, what: str, query: JobQuery) -> None:
    """Follow the cursors to the end."""
    began, pages, found = time.perf_counter(), 0, 0
    while True:
        page = await harness.backend.job_index.list_page_for_tenant(TENANT, query)
        pages, found = pages + 1, found + len(page.items)
        if page.cursor is None:
            break
        query = replace(query, cursor=page.cursor)
    print(f"{what:44}{found:6} in {pages} pages, {time.perf_counter() - began:.2f} s")


async def measure(url: str, jobs: int) -> None:
    """Fill, read and print."""
    async with open_usage_harness(url) as harness:
        print(f"admission in Redis, no jobs: {await admission(harness):.0f} us")
        empty = await harness.memory()
        await fill(harness, 0, jobs)
        print(
            f"{jobs} jobs, {(await harness.memory() - empty) / 1e9:.2f} GB of documents and indexes"
        )
        print(f"admission in Redis, {jobs} jobs: {await admission(harness):.0f} us")
        middle = harness.clock.now() + jobs // 2 * EVERY
        print(f"{'query':44}{'found':>5} {'':5}{'p50 ms':>8}{'p99 ms':>8}{'in Redis':>9}")
        first = await time_query(harness, "the newest 50", JobQuery())
        await time_query(harness, "the newest 200", JobQuery(limit=200))
        await time_query(harness, "the 50 after a cursor", JobQuery(cursor=first.cursor))
        await time_query(harness, "50 before the middle", JobQuery(created_before=middle))
        for status in PublicStatus:
            await time_query(harness, f"status={status}", JobQuery(status=status))
        await time_query(harness, "a reference", JobQuery(reference=f"order-{jobs // 2:08}"))
        await time_query(harness, "a reference that nobody gave", JobQuery(reference="order"))
        await time_query(harness, "a model of nine in ten", JobQuery(model_id=MODEL))
        await time_query(harness, "a model of one in ten", JobQuery(model_id=OTHER))
        await time_query(harness, "a rare model, where there is none", JobQuery(model_id=RARE))
        failed = JobQuery(status=PublicStatus.FAILED, model_id=RARE)
        await time_query(harness, "failed of a rare model", failed)
        await follow_pages(harness, "all of a rare model", JobQuery(model_id=RARE, limit=200))
        await follow_pages(harness, "all failed", JobQuery(status=PublicStatus.FAILED, limit=200))


async def admission(harness: StoreUsageHarness) -> float:
    """Microseconds that an admission takes inside Redis."""
    await run_in_batches([partial(harness.admit, number) for number in range(50)])
    await harness.wire.execute("CONFIG", "RESETSTAT")
    await run_in_batches([partial(harness.admit, number) for number in range(2000)])
    stats = (await harness.wire.execute("INFO", "commandstats")).decode()
    row = next(line for line in stats.splitlines() if line.startswith("cmdstat_evalsha:"))
    return float(row.partition("usec_per_call=")[2].partition(",")[0])


def main() -> None:
    """Run over a private Redis."""
    jobs = int(sys.argv[1]) if len(sys.argv) > 1 else JOBS_IN_ALL
    with private_redis() as server:
        asyncio.run(measure(server.url, jobs))


if __name__ == "__main__":
    main()
