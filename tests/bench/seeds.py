"""Stores jobs and deliveries as the product does, without service and worker."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final, Self

from core.clock import SystemClock
from core.ids import SystemIds
from core.jobs.job import BillingStatus, Job, JobState
from core.money import MicroUsd
from core.store import keys
from core.store.client import RedisClient
from core.store.deliveries import DeliveryStore
from core.store.jobs import JobStore
from core.store.scripts import LuaScripts, load_scripts
from core.tenants.api_keys import Credential, api_key_digest
from core.transactions.admission import Admission
from core.transactions.job_update import Change
from tests.bench.concurrency import run_in_batches
from tests.bench.harness import KEY, MODEL, TENANT
from tests.bench.upstream import request_id
from tests.support.fair_queue import fill_queue
from tests.support.records import delivery_to

MAX_AGE_SECONDS: Final = 300
CREDENTIAL: Final = Credential(TENANT, api_key_digest(KEY))
PRICE: Final = MicroUsd(1_260_000)
DATA: Final = '{"request_id":"req_1","status":"completed","output":{"video":"https://a.example/b"}}'


@dataclass(frozen=True, slots=True)
class StoreSeeder:
    """Writes jobs and deliveries."""

    wire: RedisClient
    jobs: JobStore
    outbox: DeliveryStore

    @classmethod
    def open(cls, wire: RedisClient) -> Self:
        """A seeder over the product's own stores."""
        scripts, clock = LuaScripts(wire, load_scripts()), SystemClock()
        return cls(wire, JobStore(wire, scripts, clock), DeliveryStore(wire, scripts, clock))

    async def admit(self, count: int, **fields: Any) -> list[Job]:  # noqa: ANN401 - of the record
        """Admit jobs that wait for a worker or for a slot."""
        now, ids = datetime.now(UTC), SystemIds()
        finish = now + timedelta(hours=2)
        made = [
            Job(
                *(ids.job_id(now), TENANT, MODEL, "1:bench", now, now),
                next_run_at=now + timedelta(seconds=5),
                deadline=finish,
                estimate=PRICE,
                **fields,
            )
            for _ in range(count)
        ]
        await run_in_batches([partial(self._admit, job) for job in made])
        return made

    async def _admit(self, job: Job) -> None:
        body = b'{"prompt":"bench","start_image_url":"https://media.example.com/a.png"}'
        await self.jobs.admit(Admission(CREDENTIAL, job, body))

    async def running(self, ends_at: Sequence[float], **fields: Any) -> list[Job]:  # noqa: ANN401 - of the record
        """Jobs that RunComfy has until these instants (epoch, in seconds), due within 10 s.

        They have been there for up to five minutes, one after another.
        """
        admitted = await self.admit(len(ends_at), **fields)
        now = datetime.now(UTC)
        made = []
        for number, (job, end) in enumerate(zip(admitted, ends_at, strict=True)):
            since = now - timedelta(seconds=number % MAX_AGE_SECONDS)
            after = job.evolve(
                now,
                state=JobState.RUNNING,
                attempts=1,
                billed=BillingStatus.UNKNOWN,
                upstream_id=request_id(end, number),
                upstream_status="in_progress",
                upstream_running=True,
                running_since=since,
                next_run_at=now + timedelta(seconds=number % 100 / 10),
            )
            made.append((job, after))
        await run_in_batches([partial(self.jobs.store, Change(job, after)) for job, after in made])
        # Wake-up messages are useless: these jobs have been submitted.
        await self.wire.execute("DEL", keys.WAKE_QUEUE)
        return [after for _, after in made]

    async def history(self, times: Sequence[timedelta]) -> None:
        """Store the run times of the model."""
        taken = [int(time.total_seconds() * 1000) for time in times]
        await self.wire.execute("LPUSH", keys.run_times(MODEL), *taken)
        await self.wire.execute("HSET", keys.RUN_COUNTS, MODEL, len(taken))

    async def callbacks(self, count: int, url: str) -> list[str]:
        """Enqueue deliveries to this URL, all due now. Returns their ids."""
        now, ids = datetime.now(UTC), SystemIds()
        made = [
            delivery_to(url, TENANT, now, id=ids.delivery_id(now), data=DATA) for _ in range(count)
        ]
        await run_in_batches([partial(self.outbox.enqueue, None, delivery) for delivery in made])
        return [delivery.id for delivery in made]

    async def waiting(self, count: int) -> None:
        """Add jobs of the tenant that wait for a slot."""
        await fill_queue(self.wire, TENANT, MODEL, count)
