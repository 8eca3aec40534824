"""Signed callbacks a second from one worker's courier, beside what plain httpx manages.

The floor does less: no Redis, no signature, no record, no checks of where it sends. Both send the
same bodies to the same receiver, as many at once, in one process with the loop that workers use.
CPU time is told too: unlike the rates it says the same on a machine that others use meanwhile.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Final

import httpx
import pytest
import uvloop

from core.clock import SystemClock
from core.ids import SystemIds
from core.jobs.job import Billed, JobRecord, JobState
from core.representations.webhooks import callback_document, event_data
from core.store import keys
from core.store.codecs import JOBS
from core.webhooks.delivery import Delivery, EventType
from tests.bench.couriers import TENANT, couriers, opened, running
from tests.bench.receiver import receiver_process
from tests.builders import delivery_to, job

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from core.store.client import Wire
    from simulator.private_redis import PrivateRedis

COUNT: Final = 1500
JOBS_HELD: Final = 100
WORKER_AT_ONCE: Final = 100
"""The default of `GATEWAY_WEBHOOKS__MAX_CONCURRENCY`."""
AT_ONCE: Final = 32
"""What one endpoint gets at once (`ChannelPolicy.at_once`)."""
ROUNDS: Final = 4
WANTED: Final = 500
LONGEST: Final = 60.0
OUTPUT: Final = b'{"videos":["https://storage.example/out.mp4"],"note":"%s"}' % (b"x" * 600)
DONE: Final = JobRecord(
    job(JobState.SUCCEEDED, tenant=TENANT, billed=Billed.YES), polls=9, output=OUTPUT
)


async def hold_jobs(wire: Wire) -> list[str]:
    """Jobs that have ended, with their history; their ids."""
    ids = [f"req_{number}" for number in range(JOBS_HELD)]
    document = JOBS.write(DONE.job)
    for name in ids:
        await wire.execute("HSET", keys.job(name), "doc", document, "output", OUTPUT, "polls", 9)
        await wire.execute("RPUSH", keys.timeline(name), b"{}")
    return ids


def delivery(url: str, job_id: str) -> Delivery:
    """One that is due."""
    now = SystemClock().now()
    own = {"id": SystemIds().delivery_id(now), "job_id": job_id, "event": EventType.COMPLETED}
    return delivery_to(url, TENANT, now, **own)


@dataclass(frozen=True)
class Rate:
    """What one run came to."""

    per_second: float
    cpu_ms: float
    """Of this process, for each."""

    def __str__(self) -> str:
        return f"{self.per_second:.0f} a second at {self.cpu_ms:.2f} ms"


class Watch:
    """From its making on."""

    def __init__(self) -> None:
        self._began, self._cpu = time.monotonic(), time.process_time()

    def rate(self) -> Rate:
        """Of `COUNT` that are done now."""
        took, cpu = time.monotonic() - self._began, time.process_time() - self._cpu
        return Rate(COUNT / took, 1000 * cpu / COUNT)


async def by_courier(redis_url: str, url: str) -> Rate:
    """From the first claim to the last record."""
    async with couriers(redis_url, WORKER_AT_ONCE) as (office, loop), opened(redis_url) as wire:
        held = await hold_jobs(wire)
        due = [delivery(url, held[number % JOBS_HELD]) for number in range(COUNT)]
        await asyncio.gather(*(office.outbox.post(None, each) for each in due))
        watch = Watch()
        async with running(loop), asyncio.timeout(LONGEST):
            await office.finished([each.id for each in due])
            rate = watch.rate()
        outcomes = {(await office.outbox.attempts(each.id))[0].outcome for each in due[::100]}
        assert outcomes == {"delivered"}
    return rate


async def by_httpx(url: str) -> Rate:
    """Unsigned POSTs by one shared client."""
    body = callback_document(
        EventType.COMPLETED, DONE.job.created_at, event_data(DONE, EventType.COMPLETED)
    )
    left = iter(range(COUNT))
    limits = httpx.Limits(max_connections=AT_ONCE, max_keepalive_connections=AT_ONCE)
    async with httpx.AsyncClient(limits=limits, trust_env=False) as client:

        async def post() -> None:
            for _ in left:
                answer = await client.post(url, content=body)
                assert answer.is_success

        watch = Watch()
        await asyncio.gather(*(post() for _ in range(AT_ONCE)))
        return watch.rate()


@pytest.mark.bench
@pytest.mark.timeout(300)
def test_a_courier_sends_hundreds_of_signed_callbacks_a_second(redis_server: PrivateRedis) -> None:
    rates: dict[str, list[Rate]] = {"courier": [], "httpx": []}
    with receiver_process() as url:
        ways: dict[str, Callable[[], Coroutine[None, None, Rate]]] = {
            "courier": lambda: by_courier(redis_server.url, url),
            "httpx": lambda: by_httpx(url),
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
    # By CPU time: on a machine that others use meanwhile the rates say what those left over.
    assert own >= WANTED
    assert courier > floor
