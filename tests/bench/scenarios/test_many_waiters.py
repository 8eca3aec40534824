"""Thousands of long polls and streams in one service process: their cost, and their latency.

The test is both caller and worker, on the same two cores as the service and Redis.
"""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import quantiles
from typing import Any, Final

import pytest

from core.clock import SystemClock
from core.jobs.job import BillingStatus, Job, Trigger
from core.jobs.timeline import TimelineEntry, TimelineKind
from core.settings.definitions import ProcessSettings
from core.store import keys
from core.store.client import RedisClient, build_connection_pool
from core.store.jobs import JobStore
from core.store.scripts import LuaScripts, load_scripts
from core.transactions.job_update import Change, WriteResult
from simulator.private_redis import free_port
from tests.bench.concurrency import run_in_batches
from tests.support.app import KLING_INPUT, KLING_PATH
from tests.support.processes import run_gateway, running_service

pytestmark = pytest.mark.bench

WAITERS: Final = 2000
MAX_CONCURRENCY: Final = 50
"""The backlog of a socket is finite."""
PACE: Final = 200.0
"""Jobs that end per second, where they do not all end together."""
OUTPUT: Final = b'{"video":"https://storage.example/out.mp4"}'
BODY: Final = json.dumps(KLING_INPUT)


@dataclass(slots=True)
class WaitersBench:
    """One run: the service, and the instants that were recorded."""

    port: int
    metrics_port: int
    pid: int
    key: str
    wire: RedisClient
    jobs: JobStore
    ended: dict[str, float] = field(default_factory=dict)
    notified_at: dict[str, float] = field(default_factory=dict)

    async def open(
        self, method: str, path: str, *, prefer: str = "", body: str = ""
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Send a request and read nothing."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        head = [
            f"{method} {path} HTTP/1.1",
            "host: bench",
            f"authorization: Bearer {self.key}",
            f"content-length: {len(body)}",
            *([f"prefer: {prefer}"] if prefer else []),
        ]
        writer.write(("\r\n".join(head) + "\r\n\r\n" + body).encode())
        return reader, writer

    async def ids(self) -> list[str]:
        """All admitted jobs."""
        names = await self.wire.execute("ZRANGE", keys.tenant_jobs("demo"), 0, -1)
        return [name.decode() for name in names]

    async def waiting(self) -> int:
        """The number of waiters in the service's metrics."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.metrics_port)
        writer.write(b"GET /metrics HTTP/1.1\r\nhost: bench\r\n\r\n")
        text = await reader.readexactly(_length(await reader.readuntil(b"\r\n\r\n")))
        writer.close()
        line = next(
            row for row in text.splitlines() if row.startswith(b"gateway_job_subscriptions ")
        )
        return int(float(line.split()[1]))

    def memory(self) -> float:
        """Resident memory of the service, in MB."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) / 1024


async def wait_for_result(bench: WaitersBench) -> None:
    """Send one submit that waits for its result."""
    reader, writer = await bench.open("POST", KLING_PATH, prefer="wait=60", body=BODY)
    head = await reader.readuntil(b"\r\n\r\n")
    body = await reader.readexactly(_length(head))
    arrived = time.monotonic()
    assert head.startswith(b"HTTP/1.1 200"), head
    bench.notified_at[json.loads(body)["request_id"]] = arrived
    writer.close()


async def read_stream(bench: WaitersBench, job_id: str) -> None:
    """Read one stream to its end."""
    reader, writer = await bench.open("GET", f"/v1/requests/{job_id}/events")
    await reader.readuntil(b"event: request.completed\n")
    bench.notified_at[job_id] = time.monotonic()
    writer.close()


async def submit_job(bench: WaitersBench) -> str:
    """Submit a job without waiting."""
    reader, writer = await bench.open("POST", KLING_PATH, body=BODY)
    head = await reader.readuntil(b"\r\n\r\n")
    document = json.loads(await reader.readexactly(_length(head)))
    writer.close()
    return str(document["request_id"])


def _length(head: bytes) -> int:
    name = b"content-length: "
    return int(next(row for row in head.split(b"\r\n") if row.startswith(name))[len(name) :])


async def apply_trigger(bench: WaitersBench, job: Job, fact: Trigger, **changes: Any) -> Job:  # noqa: ANN401 - fields
    """Store the next transition of the job, as a worker does."""
    now = SystemClock().now()
    after = job.transition(fact, now, **changes)
    entry = TimelineEntry(now, TimelineKind.TRANSITION, fact, after.state, status=after.status)
    output = OUTPUT if fact is Trigger.COLLECTED else None
    assert await bench.jobs.store(Change(job, after, entry, output=output)) is WriteResult.STORED
    return after


async def run_until_collecting(bench: WaitersBench, job_id: str) -> Job:
    """Move the job to the state before its end."""
    record = await bench.jobs.load(job_id)
    assert record is not None
    now = SystemClock().now()
    job = await apply_trigger(bench, record.job, Trigger.CLAIMED, attempts=1)
    job = await apply_trigger(bench, job, Trigger.ACCEPTED, upstream_id="up", running_since=now)
    return await apply_trigger(bench, job, Trigger.FINISHED)


async def end(bench: WaitersBench, job: Job) -> None:
    """End the job, and note the instant of the call to Redis."""
    bench.ended[job.id] = time.monotonic()
    now = SystemClock().now()
    await apply_trigger(bench, job, Trigger.COLLECTED, finished_at=now, billed=BillingStatus.YES)


@asynccontextmanager
async def open_bench(
    redis_url: str, ports: tuple[int, int], pid: int, key: str
) -> AsyncIterator[WaitersBench]:
    """A bench with its own store; `ports` are those of the API and of the metrics."""
    settings = ProcessSettings(redis_url=redis_url)  # type: ignore[arg-type]  # pydantic reads it
    async with RedisClient(build_connection_pool(settings.redis, "bench")) as wire:
        jobs = JobStore(wire, LuaScripts(wire, load_scripts()), SystemClock())
        yield WaitersBench(*ports, pid, key, wire, jobs)


async def start_waiters(bench: WaitersBench, kind: str) -> list[asyncio.Task[None]]:
    """Start `WAITERS` callers, each waiting for its own job."""
    ids = await bench.ids()
    tasks: list[asyncio.Task[None]] = []
    for number in range(WAITERS):
        call = read_stream(bench, ids[number]) if kind == "sse" else wait_for_result(bench)
        tasks.append(asyncio.create_task(call))
        if number % MAX_CONCURRENCY == 0:
            await asyncio.sleep(0.05)
    while await bench.waiting() < WAITERS:  # noqa: ASYNC110 - another process is looked at
        await asyncio.sleep(0.2)
    return tasks


async def end_jobs(bench: WaitersBench, jobs: list[Job], pace: float | None) -> None:
    """End every job, all together or `pace` per second."""
    if pace is None:
        await asyncio.gather(*(end(bench, job) for job in jobs))
        return
    began = time.monotonic()
    for number, job in enumerate(jobs):
        await asyncio.sleep(max(0.0, began + number / pace - time.monotonic()))
        await end(bench, job)


async def measure_release(bench: WaitersBench, kind: str, pace: float | None) -> dict[str, Any]:
    """One run's figures."""
    if kind == "sse":
        await run_in_batches([partial(submit_job, bench)] * WAITERS)
    before = bench.memory()
    tasks = await start_waiters(bench, kind)
    full = bench.memory()
    ids = await bench.ids()
    jobs = await run_in_batches(
        [partial(run_until_collecting, bench, job_id) for job_id in ids], MAX_CONCURRENCY
    )
    await asyncio.sleep(1)
    await end_jobs(bench, jobs, pace)
    await asyncio.gather(*tasks)
    took = sorted(bench.notified_at[name] - bench.ended[name] for name in ids)
    cuts = quantiles(took, n=100)
    return {
        "kind": kind,
        "ended": "at once" if pace is None else f"{pace:g} a second",
        "waiters": WAITERS,
        "rss_mb_before": round(before, 1),
        "rss_mb_waiting": round(full, 1),
        "kb_a_waiter": round((full - before) * 1024 / WAITERS, 1),
        "p50_ms": round(cuts[49] * 1000, 1),
        "p99_ms": round(cuts[98] * 1000, 1),
        "all_ms": round((max(bench.notified_at.values()) - min(bench.ended.values())) * 1000),
    }


def keep(file: Path, figures: dict[str, Any]) -> None:
    """Write the figures for docs/performance.md."""
    file.write_text(json.dumps(figures, indent=2), encoding="utf-8")


@pytest.mark.parametrize("pace", [PACE, None])
@pytest.mark.parametrize("kind", ["prefer", "sse"])
async def test_thousands_wait(
    redis_flushed: str, tmp_path: Path, kind: str, pace: float | None
) -> None:
    made = await asyncio.to_thread(run_gateway, redis_flushed, "tenant", "create", "demo", "--json")
    key = json.loads(made.stdout)["key"]
    own = {"GATEWAY_SERVICE_METRICS_PORT": str(metrics_port := free_port())}
    with running_service(redis_flushed, tmp_path / "serve.log", **own) as (process, port):
        async with open_bench(redis_flushed, (port, metrics_port), process.pid, key) as bench:
            figures = await measure_release(bench, kind, pace)
    print(json.dumps(figures))
    if folder := os.environ.get("BENCH_RESULTS"):
        keep(Path(folder, f"waiting-{kind}-{'paced' if pace else 'burst'}.json"), figures)
    assert figures["p50_ms"] < 5000
