"""Jobs and callbacks like real ones, in numbers, and what Redis holds of them."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any, Final

from core.jobs.job import Billed, Fact, Job, JobState
from core.jobs.timeline import Note, TimelineEntry
from core.money import MicroUsd
from core.tenants.api_keys import Credential, KeyRecord
from core.tenants.limits import Limits
from core.tenants.tenant import Tenant
from core.transactions.admission import Admission, ReuseRequest
from core.transactions.job_update import Change, Outcome
from core.transactions.notifications import notices
from core.webhooks.config import WebhookSetup
from core.webhooks.delivery import ChannelMove, DeliveryAttempt, DeliveryState, Settlement
from core.webhooks.endpoint import Endpoint
from tests.contract.gateway import HandClock, wire_to
from tests.contract.subjects import Subject, redis_subject
from tests.fakes.ids import SeededIds
from tests.integration.passing import every_key, row_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Sequence

    from core.store.client import Wire
    from core.webhooks.delivery import Claimed

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
AT_ONCE: Final = 200
PACKED: Final = 4096
LEASE: Final = timedelta(seconds=30)


@dataclass(slots=True)
class House:
    """A gateway over a private Redis, its time in the hands of the bench."""

    subject: Subject
    clock: HandClock
    wire: Wire
    ids: SeededIds = field(default_factory=lambda: SeededIds(Random(1)))

    async def take(self, number: int, *, hook: bool = False, cache: bool = False) -> Job:
        """A job that was submitted with a reference; no two have the same input."""
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
            finish_by=now.replace(year=now.year + 1),
        )
        entry = TimelineEntry(now, Note.ADMITTED, "admitted", job.state)
        wish = Admission(Credential(TENANT, "digest"), job, INPUT, entry)
        if cache:
            wish = replace(wish, reuse=ReuseRequest())
        await self.subject.jobs.admit(wish)
        return job

    async def step(self, job: Job, fact: Fact, **changes: Any) -> Job:  # noqa: ANN401 - fields of the record
        """One fact on."""
        now = self.clock.now()
        detail = changes.get("upstream_id")
        after = job.after(fact, now, **changes)
        entry = TimelineEntry(now, Note.MOVED, fact, after.state, detail, status=after.unspoken)
        setup = WebhookSetup(TENANT, endpoints=(Endpoint("default", HOOK, now),))
        told = notices(job, after, setup, self.ids, now) if job.webhook else ()
        output = OUTPUT if fact is Fact.COLLECTED else None
        change = Change(job, after, (entry,), output, told)
        assert await self.subject.jobs.store(change) is Outcome.STORED
        return after

    async def start(self, job: Job) -> Job:
        """RunComfy has it, and runs it."""
        now = self.clock.now()
        holder = "worker-7f9c:41:0f3a9b1c"
        job = await self.step(job, Fact.CLAIMED, attempts=1, holder=holder, sent_at=now, due_at=now)
        upstream = "0b6f6a52-9d0e-4c1b-8a53-0d6c9c1f7a11"
        job = await self.step(
            job, Fact.ACCEPTED, upstream_id=upstream, running_since=now, due_at=now
        )
        return await self.step(
            job, Fact.STILL_RUNNING, upstream_word="in_progress", upstream_running=True, due_at=now
        )

    async def finish(self, job: Job) -> Job:
        """It has ended well."""
        job = await self.step(job, Fact.FINISHED, upstream_word="completed")
        return await self.step(
            job,
            Fact.COLLECTED,
            due_at=None,
            finished_at=self.clock.now(),
            billed=Billed.YES,
            cost=MicroUsd(630_000),
            cost_source="runcomfy",
        )

    async def deliver(self) -> int:
        """Every callback that is due arrives; how many did."""
        total = 0
        while claimed := await self.subject.deliveries.claim_due(LEASE, AT_ONCE):
            await in_batches([partial(self._arrive, each) for each in claimed])
            total += len(claimed)
        return total

    async def _arrive(self, claimed: Claimed) -> None:
        before, now = claimed.delivery, self.clock.now()
        after = replace(
            before,
            version=before.version + 1,
            state=DeliveryState.DELIVERED,
            due_at=None,
            attempts=1,
            last_outcome="delivered",
            finished_at=now,
        )
        state = JobState.SUCCEEDED
        move = ChannelMove(before.channel, claimed.channel, claimed.channel)
        attempt = DeliveryAttempt(now, 1, "delivered", 41, 200, "ok")
        entry = TimelineEntry(now, Note.DELIVERY, "delivered", state, before.id, 200, 1)
        await self.subject.deliveries.settle(Settlement(before, after, move, attempt, entry))

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
            by_row.setdefault(row_of(name), []).append(name)
        found: Counter[str] = Counter()
        for row, names in by_row.items():
            some = names[:sample]
            sizes = await asyncio.gather(
                *(self.wire.execute("MEMORY", "USAGE", name, "SAMPLES", 0) for name in some)
            )
            found[row] = round(sum(map(int, sizes)) / len(some) * len(names))
        return found


async def in_batches(calls: Sequence[Callable[[], Coroutine[Any, Any, Any]]]) -> list[Any]:
    """All of them, some at a time."""
    done: list[Any] = []
    for start in range(0, len(calls), AT_ONCE):
        done += await asyncio.gather(*(call() for call in calls[start : start + AT_ONCE]))
    return done


@asynccontextmanager
async def house_over(url: str, *, packed: bool = True) -> AsyncIterator[House]:
    """A gateway with one tenant. What is written is not logged: the disk is not measured here.

    `packed`: hashes as in the deployments of `deploy/`.
    """
    clock = HandClock()
    async with wire_to(url) as wire:
        await wire.execute("CONFIG", "SET", "appendonly", "no")
        if packed:
            await wire.execute("CONFIG", "SET", "hash-max-listpack-value", PACKED)
        subject = redis_subject(clock, wire)
        clock.put(datetime.now(UTC))  # as Redis' own, by which it forgets stored results
        now = clock.now()
        made = KeyRecord("digest", TENANT, now)
        assert await subject.tenants.create(Tenant(TENANT, now, limits=Limits()), made)
        yield House(subject, clock, wire)
