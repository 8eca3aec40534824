"""Signed deliveries per second of one worker, beside plain httpx.

The baseline does less: no Redis, no signature, no record, no check of the target. Both send the
same bodies to the same receiver, with equal concurrency, in one process with the workers' loop.
CPU time is printed too: unlike the rates it does not depend on other processes of the machine.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from statistics import median
from typing import Final

import httpx
import pytest
import uvloop

from core.clock import SystemClock
from core.ids import SystemIds
from core.jobs.job import BillingStatus, JobRecord, JobState
from core.representations.webhooks import webhook_body, webhook_data
from core.store import keys
from core.store.client import RedisClient
from core.store.codecs import JOB_CODEC
from core.webhooks.delivery import Delivery, WebhookEventType
from simulator.private_redis import PrivateRedis
from tests.bench.minimal_receiver import receiver_process
from tests.support.delivery_worker import TENANT, delivery_worker, running_loop
from tests.support.records import delivery_to, job
from tests.support.redis import redis_client

COUNT: Final = 1500
JOBS_HELD: Final = 100
WORKER_MAX_CONCURRENCY: Final = 100
"""The default of `GATEWAY_WEBHOOKS__MAX_CONCURRENCY`."""
MAX_CONCURRENCY: Final = 32
"""The concurrency of one endpoint (`EndpointCircuitPolicy.max_concurrency`)."""
ROUNDS: Final = 4
MIN_RATIO: Final = 500
MAX_SECONDS: Final = 60.0
OUTPUT: Final = b'{"videos":["https://storage.example/out.mp4"],"note":"%s"}' % (b"x" * 600)
DONE: Final = JobRecord(
    job(JobState.SUCCEEDED, tenant=TENANT, billed=BillingStatus.YES), polls=9, output=OUTPUT
)


async def create_ended_jobs(wire: RedisClient) -> list[str]:
    """Store jobs that have ended, with their timelines. Returns their ids."""
    ids = [f"req_{number}" for number in range(JOBS_HELD)]
    document = JOB_CODEC.encode(DONE.job)
    for name in ids:
        await wire.execute("HSET", keys.job(name), "doc", document, "output", OUTPUT, "polls", 9)
        await wire.execute("RPUSH", keys.timeline(name), b"{}")
    return ids


def delivery(url: str, job_id: str) -> Delivery:
    """A delivery that is due."""
    now = SystemClock().now()
    own = {
        "id": SystemIds().delivery_id(now),
        "job_id": job_id,
        "event": WebhookEventType.COMPLETED,
    }
    return delivery_to(url, TENANT, now, **own)


@dataclass(frozen=True)
class ThroughputResult:
    """The result of one run."""

    per_second: float
    cpu_ms: float
    """CPU seconds of this process per delivery."""

    def __str__(self) -> str:
        return f"{self.per_second:.0f} a second at {self.cpu_ms:.2f} ms"


class Stopwatch:
    """The start of the measurement."""

    def __init__(self) -> None:
        self._began, self._cpu = time.monotonic(), time.process_time()

    def rate(self) -> ThroughputResult:
        """The result, now that `COUNT` are done."""
        took, cpu = time.monotonic() - self._began, time.process_time() - self._cpu
        return ThroughputResult(COUNT / took, 1000 * cpu / COUNT)


async def measure_worker(redis_url: str, url: str) -> ThroughputResult:
    """Measure from the first claim to the last record."""
    async with (
        delivery_worker(redis_url, WORKER_MAX_CONCURRENCY) as (office, loop),
        redis_client(redis_url) as wire,
    ):
        held = await create_ended_jobs(wire)
        due = [delivery(url, held[number % JOBS_HELD]) for number in range(COUNT)]
        await asyncio.gather(*(office.outbox.enqueue(None, each) for each in due))
        watch = Stopwatch()
        async with running_loop(loop), asyncio.timeout(MAX_SECONDS):
            await office.finished([each.id for each in due])
            rate = watch.rate()
        outcomes = {(await office.outbox.list_attempts(each.id))[0].outcome for each in due[::100]}
        assert outcomes == {"delivered"}
    return rate


async def measure_httpx(url: str) -> ThroughputResult:
    """Unsigned POSTs by one shared client."""
    body = webhook_body(
        WebhookEventType.COMPLETED,
        DONE.job.created_at,
        webhook_data(DONE, WebhookEventType.COMPLETED),
    )
    left = iter(range(COUNT))
    limits = httpx.Limits(
        max_connections=MAX_CONCURRENCY, max_keepalive_connections=MAX_CONCURRENCY
    )
    async with httpx.AsyncClient(limits=limits, trust_env=False) as client:

        async def post() -> None:
            for _ in left:
                answer = await client.post(url, content=body)
                assert answer.is_success

        watch = Stopwatch()
        await asyncio.gather(*(post() for _ in range(MAX_CONCURRENCY)))
        return watch.rate()


@pytest.mark.bench
def test_a_worker_sends_hundreds_of_signed_deliveries_a_second(redis_server: PrivateRedis) -> None:
    rates: dict[str, list[ThroughputResult]] = {"courier": [], "httpx": []}
    with receiver_process() as url:
        ways: dict[str, Callable[[], Coroutine[None, None, ThroughputResult]]] = {
            "courier": lambda: measure_worker(redis_server.url, url),
            "httpx": lambda: measure_httpx(url),
        }
        for _ in range(ROUNDS):
            for name, run in ways.items():
                redis_server.flush()
                rates[name].append(uvloop.run(run()))
    for name, found in rates.items():
        print(f"\n{name}: {', '.join(map(str, found))}", end="")
    courier, floor = (median(r.per_second for r in rates[name]) for name in ways)
    print(f"\nmedians: {courier:.0f} signed deliveries, {floor:.0f} plain ({courier / floor:.2f}x)")
    own = 1000 / median(rate.cpu_ms for rate in rates["courier"])
    print(f"with a core of its own: {own:.0f} signed deliveries a second")
    # By CPU time: rates depend on the other processes of the machine.
    assert own >= MIN_RATIO
    assert courier > floor
