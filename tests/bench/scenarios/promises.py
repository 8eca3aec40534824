"""What the two promises cost a submit: the journal in a folder and on S3, and the fence.

The worker's own submitter runs against a RunComfy that answers immediately: the same submits
without a journal are the basis of the ratios.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Final

from core.clock import SystemClock
from core.ids import SystemIds
from core.jobs.job import Job
from core.jobs.submission import Submission
from core.journal.buckets import open_bucket
from core.journal.files import FileStorage
from core.journal.journal import Journal
from core.journal.objects import ObjectStorage
from core.money import MicroUsd
from core.store.client import RedisClient
from simulator.private_redis import LOOPBACK, private_redis
from tests.bench.harness import Bench
from tests.bench.results import BenchReport, PerformanceTarget, percentile
from tests.support.journal import JOURNAL_TIMEOUT, StubGuard
from tests.support.records import job
from tests.support.redis import redis_client
from tests.support.s3_server import S3Faults, s3_server
from worker.jobs.paid_submit import PaidSubmitter
from worker.ports import Accepted, SubmitAnswer

CONCURRENCY: Final = 16
"""The submits in flight that a worker allows by default."""
DISK_WRITES: Final = 100
LEASE: Final = timedelta(seconds=15)
JOURNAL_P50: Final = PerformanceTarget(maximum=2)
JOURNAL_RATE: Final = PerformanceTarget(minimum=300)
FENCE_P50: Final = PerformanceTarget(maximum=1)
QUEUE_RATIO: Final = PerformanceTarget(maximum=3)
"""Of the time of concurrent submits to that of one; a queue of them would take 16 times it."""
_S3_DELAY: Final = S3Faults(delay_seconds=0.5)
_BODY: Final = b'{"prompt": "' + b"a" * 500 + b'"}'


class InstantRunComfy:
    """RunComfy that accepts each submit immediately."""

    async def submit(self, model_id: str, body: bytes) -> SubmitAnswer:
        del model_id, body
        return Accepted("up-1")


def run(bench: Bench, report: BenchReport) -> None:
    """Measure the journal in both places, then the fence."""
    for number in range(bench.scale.rounds):
        asyncio.run(_journal_in_a_folder(bench, report, number))
        asyncio.run(_journal_on_s3(bench, report))
        asyncio.run(_fence(bench, report, number))


async def _journal_in_a_folder(bench: Bench, report: BenchReport, number: int) -> None:
    without, _ = await _one_by_one(None, bench.scale.jobs)
    fastest = await _rate(None, bench.scale.jobs)
    disk = [_write_two_files(bench.folder / f"disk-{number}-{each}") for each in range(DISK_WRITES)]
    async with _journal(FileStorage(bench.folder / f"journal-{number}")) as journal:
        durations, p50 = await _one_by_one(journal, bench.scale.jobs)
        rate = await _rate(journal, bench.scale.jobs)
    target = bench.scale.timed
    report.add("journal", "folder: a submit, p50", "ms", p50, JOURNAL_P50 if target else None)
    report.add("journal", "folder: a submit, p99", "ms", percentile(durations, 0.99))
    report.add("journal", "disk: two synced files, p50", "ms", percentile(disk, 0.5))
    report.add("journal", "no journal: a submit, p50", "ms", percentile(without, 0.5))
    report.add("journal", "folder: submits", "1/s", rate, JOURNAL_RATE if target else None)
    report.add("journal", "folder: share of the rate without", "", rate / fastest)


async def _journal_on_s3(bench: Bench, report: BenchReport) -> None:
    with s3_server() as server:
        os.environ.update(server.environment)
        async with _journal(open_bucket(server.create_bucket("journal"), JOURNAL_TIMEOUT)) as held:
            server.fail(_S3_DELAY)
            submitter, jobs = _submitter(held), _jobs("s3")
            await _submit(submitter, next(jobs))
            alone = await _time(_submit(submitter, next(jobs)))
            together = await _time(*(_submit(submitter, next(jobs)) for _ in range(CONCURRENCY)))
    target = QUEUE_RATIO if bench.scale.timed else None
    report.add("journal", "S3, 500 ms a call: one submit", "ms", alone)
    report.add("journal", "S3: 16 concurrent submits to one", "", together / alone, target)


async def _fence(bench: Bench, report: BenchReport, number: int) -> None:
    follow = ("--replicaof", LOOPBACK, str(bench.redis.port))
    with private_redis(directory=bench.folder / f"replica-{number}", options=follow):
        async with (
            redis_client(bench.redis.url) as plain,
            redis_client(bench.redis.url, replicas=1) as fenced,
        ):
            await _wait_for_replica(plain)
            without = await _writes(plain.execute, bench.scale.jobs)
            behind = await _writes(fenced.execute_replicated, bench.scale.jobs)
    cost = percentile(behind, 0.5) - percentile(without, 0.5)
    report.add("fence", "a write, p50", "ms", percentile(without, 0.5))
    report.add("fence", "cost p50", "ms", cost, FENCE_P50 if bench.scale.timed else None)


async def _wait_for_replica(client: RedisClient) -> None:
    async with asyncio.timeout(JOURNAL_TIMEOUT.total_seconds()):
        while not await client.execute("WAIT", 1, 1000):
            pass  # it waits itself


async def _writes(write: Callable[..., Awaitable[object]], number: int) -> list[float]:
    return [await _time(write("SET", "bench", each)) for each in range(number)]


async def _one_by_one(journal: Journal | None, number: int) -> tuple[list[float], float]:
    submitter, jobs = _submitter(journal), _jobs("alone")
    durations = [await _time(_submit(submitter, next(jobs))) for _ in range(number)]
    return durations, percentile(durations, 0.5)


async def _rate(journal: Journal | None, number: int) -> float:
    """Return submits a second, as many in flight as a worker has."""
    submitter, jobs = _submitter(journal), _jobs("many")

    async def some() -> None:
        for _ in range(max(number // CONCURRENCY, 1)):
            await _submit(submitter, next(jobs))

    milliseconds = await _time(*(some() for _ in range(CONCURRENCY)))
    return CONCURRENCY * max(number // CONCURRENCY, 1) / milliseconds * 1000


def _write_two_files(folder: Path) -> float:
    """Return the milliseconds that the disk needs for an entry and its answer, without any code."""
    began = time.perf_counter()
    folder.mkdir()
    for name in ("entry", "answer"):
        for path, flags in ((folder / name, os.O_WRONLY | os.O_CREAT), (folder, os.O_RDONLY)):
            descriptor = os.open(path, flags)
            if path != folder:
                os.write(descriptor, _BODY)
            os.fsync(descriptor)
            os.close(descriptor)
    return (time.perf_counter() - began) * 1000


def _jobs(name: str) -> Iterator[Job]:
    return (job(id=f"req_{name}_{number}") for number in count())


async def _submit(submitter: PaidSubmitter, claimed: Job) -> None:
    sent = await submitter.send(claimed, Submission(_BODY, MicroUsd(1)))
    await submitter.record(claimed, sent)


def _submitter(journal: Journal | None) -> PaidSubmitter:
    upstream = InstantRunComfy()
    return PaidSubmitter(
        upstream,  # type: ignore[arg-type]  # nothing but submits is called
        journal,
        SystemClock(),
        SystemIds(),
        StubGuard(),
        LEASE,
    )


@asynccontextmanager
async def _journal(objects: ObjectStorage) -> AsyncIterator[Journal]:
    opened = Journal(objects, SystemClock(), lambda _: None, JOURNAL_TIMEOUT)
    yield opened
    await opened.close()


async def _time(*calls: Awaitable[object]) -> float:
    """Return how long the calls took together, in milliseconds."""
    began = time.perf_counter()
    await asyncio.gather(*calls)
    return (time.perf_counter() - began) * 1000
