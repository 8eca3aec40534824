"""Realistic jobs and deliveries in bulk, and the memory that they use in Redis."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from random import Random
from typing import Any, Final

from core.jobs.job import BillingStatus, Job, JobState, Trigger
from core.jobs.timeline import TimelineEntry, TimelineKind
from core.money import MicroUsd
from core.store.client import RedisClient
from core.tenants.api_keys import ApiKey, Credential
from core.tenants.limits import Limits
from core.tenants.tenant import Tenant
from core.transactions.admission import Admission, CacheRequest
from core.transactions.job_update import Change, WriteResult
from core.transactions.webhook_deliveries import event_of_change, job_deliveries
from core.webhooks.config import WebhookConfig
from core.webhooks.delivery import (
    CircuitUpdate,
    ClaimedDelivery,
    DeliveryAttempt,
    DeliveryState,
    DeliveryUpdate,
)
from core.webhooks.endpoint import Endpoint
from tests.bench.concurrency import run_in_batches
from tests.support.backends import StoreBackend, redis_backend
from tests.support.clock import FakeClock
from tests.support.ids import SeededIds
from tests.support.redis import every_key, pattern_of, redis_client

TENANT: Final = "video-team"
MODEL: Final = "kling/kling-3.0/standard/image-to-video"
TRACE: Final = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
INPUT: Final = json.dumps(
    {
        "prompt": "The camera slowly dollies in towards the lighthouse while waves crash against "
        "the rocks below; gulls circle, the light turns, and the sky goes from grey to gold. "
        "Cinematic, 35 mm, shallow depth of field, natural colours, no text.",
        "negative_prompt": "blurry, distorted, low quality, watermark",
        "start_image_url": "https://media.example.com/uploads/2026/11/22/5f2b7c1e9a/input.png",
        "duration": 5,
    }
).encode()
OUTPUT: Final = json.dumps(
    {
        "video": "https://playgrounds-storage-public.runcomfy.net/tools/7349/media-files/"
        "0b6f6a52-9d0e-4c1b-8a53-0d6c9c1f7a11/output.mp4"
    }
).encode()
HOOK: Final = "https://hooks.example.com/runcomfy/finished"
MAX_CONCURRENCY: Final = 200
PACKED: Final = 4096
LEASE: Final = timedelta(seconds=30)


@dataclass(slots=True)
class StoreUsageHarness:
    """Stores over a private Redis, with a clock that the bench moves."""

    backend: StoreBackend
    clock: FakeClock
    wire: RedisClient
    ids: SeededIds = field(default_factory=lambda: SeededIds(Random(1)))

    async def admit(self, number: int, *, hook: bool = False, cache: bool = False) -> Job:
        """Submit a job with a reference; no two have the same input."""
        now = self.clock.now()
        job = Job(
            id=self.ids.job_id(now),
            tenant=TENANT,
            model_id=MODEL,
            fingerprint=f"1:{number:064x}",
            created_at=now,
            updated_at=now,
            reference=f"order-{number:08}",
            webhook=HOOK if hook else None,
            trace=TRACE,
            estimate=MicroUsd(630_000),
            deadline=now.replace(year=now.year + 1),
        )
        wish = Admission(Credential(TENANT, "digest"), job, INPUT)
        if cache:
            wish = replace(wish, cache=CacheRequest())
        await self.backend.jobs.admit(wish)
        return job

    async def step(self, job: Job, fact: Trigger, **changes: Any) -> Job:  # noqa: ANN401 - fields of the record
        """Store the next transition of the job."""
        now = self.clock.now()
        detail = changes.get("upstream_id")
        after = job.transition(fact, now, **changes)
        entry = TimelineEntry(
            now, TimelineKind.TRANSITION, fact, after.state, detail, status=after.status_override
        )
        setup = WebhookConfig(TENANT, endpoints=(Endpoint("default", HOOK, now),))
        event = event_of_change(job, after) if job.webhook else None
        told = () if event is None else job_deliveries(after, event, setup, now)
        output = OUTPUT if fact is Trigger.COLLECTED else None
        change = Change(job, after, entry, output=output, deliveries=told)
        assert await self.backend.jobs.store(change) is WriteResult.STORED
        return after

    async def start(self, job: Job) -> Job:
        """Submit the job to RunComfy, which runs it."""
        now = self.clock.now()
        holder = "worker-7f9c:41:0f3a9b1c"
        job = await self.step(
            job, Trigger.CLAIMED, attempts=1, lease_holder=holder, sent_at=now, next_run_at=now
        )
        upstream = "0b6f6a52-9d0e-4c1b-8a53-0d6c9c1f7a11"
        job = await self.step(
            job, Trigger.ACCEPTED, upstream_id=upstream, running_since=now, next_run_at=now
        )
        return await self.step(
            job,
            Trigger.STILL_RUNNING,
            upstream_status="in_progress",
            upstream_running=True,
            next_run_at=now,
        )

    async def finish(self, job: Job) -> Job:
        """End the job as succeeded."""
        job = await self.step(job, Trigger.FINISHED, upstream_status="completed")
        return await self.step(
            job,
            Trigger.COLLECTED,
            next_run_at=None,
            finished_at=self.clock.now(),
            billed=BillingStatus.YES,
            cost=MicroUsd(630_000),
            cost_source="runcomfy",
        )

    async def deliver(self) -> int:
        """Complete every due delivery. Returns their number."""
        total = 0
        while claimed := await self.backend.deliveries.claim_due(LEASE, MAX_CONCURRENCY):
            await run_in_batches([partial(self._deliver_webhook, each) for each in claimed])
            total += len(claimed)
        return total

    async def _deliver_webhook(self, claimed: ClaimedDelivery) -> None:
        before, now = claimed.delivery, self.clock.now()
        after = replace(
            before,
            version=before.version + 1,
            state=DeliveryState.DELIVERED,
            next_attempt_at=None,
            attempts=1,
            last_outcome="delivered",
            finished_at=now,
        )
        state = JobState.SUCCEEDED
        move = CircuitUpdate(before.queue, claimed.circuit, claimed.circuit)
        attempt = DeliveryAttempt(now, 1, "delivered", 41, 200, "ok")
        entry = TimelineEntry(now, TimelineKind.DELIVERY, "delivered", state, before.id, 200, 1)
        await self.backend.deliveries.complete_attempt(
            DeliveryUpdate(before, after, move, attempt, entry)
        )

    async def memory(self) -> int:
        """Bytes that Redis has in use."""
        await self.wire.execute("MEMORY", "PURGE")
        info = (await self.wire.execute("INFO", "memory")).decode()
        line = next(row for row in info.splitlines() if row.startswith("used_memory:"))
        return int(line.partition(":")[2])

    async def families(self, sample: int) -> Counter[str]:
        """Bytes of each key family by MEMORY USAGE, over the first `sample` keys of each."""
        by_row: dict[str, list[str]] = {}
        for name in await every_key(self.wire):
            by_row.setdefault(pattern_of(name), []).append(name)
        found: Counter[str] = Counter()
        for row, names in by_row.items():
            some = names[:sample]
            sizes = await asyncio.gather(
                *(self.wire.execute("MEMORY", "USAGE", name, "SAMPLES", 0) for name in some)
            )
            found[row] = round(sum(map(int, sizes)) / len(some) * len(names))
        return found


@asynccontextmanager
async def open_usage_harness(url: str, *, packed: bool = True) -> AsyncIterator[StoreUsageHarness]:
    """Stores with one tenant. Redis does not write to disk, which is not measured here.

    `packed`: hashes as in the deployments of `deploy/`.
    """
    clock = FakeClock()
    async with redis_client(url) as wire:
        await wire.execute("CONFIG", "SET", "appendonly", "no")
        if packed:
            await wire.execute("CONFIG", "SET", "hash-max-listpack-value", PACKED)
        subject = redis_backend(clock, wire)
        clock.set(
            datetime.now(UTC)
        )  # the time of Redis's own clock, by which cached results expire
        now = clock.now()
        made = ApiKey("digest", TENANT, now)
        assert await subject.tenants.create(Tenant(TENANT, now, limits=Limits()), made)
        yield StoreUsageHarness(subject, clock, wire)
