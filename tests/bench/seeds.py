"""Puts jobs and callbacks into the store as the product does, without service or worker."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from core.clock import SystemClock
from core.ids import SystemIds
from core.jobs.job import Billed, Job, JobState
from core.jobs.timeline import Note, TimelineEntry
from core.money import MicroUsd
from core.store import keys
from core.store.deliveries import DeliveryStore
from core.store.jobs import JobStore
from core.store.scripts import Scripts, read_scripts
from core.tenants.api_keys import Credential, digest_of
from core.transactions.admission import Admission
from core.transactions.job_update import Change
from tests.bench.harness import KEY, MODEL, TENANT
from tests.bench.upstream import request_id
from tests.builders import delivery_to
from tests.lanes import fill_lane

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from core.store.client import Wire

AT_ONCE: Final = 200
LONGEST_AGO: Final = 300
CREDENTIAL: Final = Credential(TENANT, digest_of(KEY))
PRICE: Final = MicroUsd(1_260_000)
DATA: Final = '{"request_id":"req_1","status":"completed","output":{"video":"https://a.example/b"}}'


@dataclass(frozen=True, slots=True)
class Seeds:
    """What writes them."""

    wire: Wire
    jobs: JobStore
    outbox: DeliveryStore

    @classmethod
    def over(cls, wire: Wire) -> Seeds:
        """Over the product's own stores."""
        scripts, clock = Scripts(wire, read_scripts()), SystemClock()
        return cls(wire, JobStore(wire, scripts, clock), DeliveryStore(wire, scripts, clock))

    async def admitted(self, count: int, **fields: Any) -> list[Job]:  # noqa: ANN401 - of the record
        """So many jobs that wait for a worker, or for their turn."""
        now, ids = datetime.now(UTC), SystemIds()
        finish = now + timedelta(hours=2)
        made = [
            Job(
                *(ids.job_id(now), TENANT, MODEL, "1:bench", now, now),
                due_at=now + timedelta(seconds=5),
                finish_by=finish,
                estimate=PRICE,
                **fields,
            )
            for _ in range(count)
        ]
        await in_turns([self._admit(job) for job in made])
        return made

    async def _admit(self, job: Job) -> None:
        entry = TimelineEntry(job.created_at, Note.ADMITTED, "admitted", JobState.QUEUED)
        body = b'{"prompt":"bench","start_image_url":"https://media.example.com/a.png"}'
        await self.jobs.admit(Admission(CREDENTIAL, job, body, entry))

    async def running(self, ends_at: Sequence[float], **fields: Any) -> list[Job]:  # noqa: ANN401 - of the record
        """Jobs that RunComfy has until these instants (epoch, in seconds), due within 10 s.

        They have been there for up to five minutes, one after another.
        """
        admitted = await self.admitted(len(ends_at), **fields)
        now = datetime.now(UTC)
        made = []
        for number, (job, end) in enumerate(zip(admitted, ends_at, strict=True)):
            since = now - timedelta(seconds=number % LONGEST_AGO)
            after = job.noted(
                now,
                state=JobState.RUNNING,
                attempts=1,
                billed=Billed.UNKNOWN,
                upstream_id=request_id(end, number),
                upstream_word="in_progress",
                upstream_running=True,
                running_since=since,
                due_at=now + timedelta(seconds=number % 100 / 10),
            )
            made.append((job, after))
        await in_turns([self.jobs.store(Change(job, after)) for job, after in made])
        # No ring is answered: they are beyond their submit.
        await self.wire.execute("DEL", keys.BELL)
        return [after for _, after in made]

    async def history(self, times: Sequence[timedelta]) -> None:
        """How long the model's last runs took."""
        taken = [int(time.total_seconds() * 1000) for time in times]
        await self.wire.execute("LPUSH", keys.runs(MODEL), *taken)
        await self.wire.execute("HSET", keys.RUN_COUNTS, MODEL, len(taken))

    async def callbacks(self, count: int, url: str) -> list[str]:
        """So many callbacks to this address, all due now; their ids."""
        now, ids = datetime.now(UTC), SystemIds()
        made = [
            delivery_to(url, TENANT, now, id=ids.delivery_id(now), data=DATA) for _ in range(count)
        ]
        await in_turns([self.outbox.post(None, delivery) for delivery in made])
        return [delivery.id for delivery in made]

    async def waiting(self, count: int) -> None:
        """So many more of the tenant's jobs wait for a slot."""
        await fill_lane(self.wire, TENANT, MODEL, count)


async def in_turns(calls: Sequence[Awaitable[Any]]) -> None:
    """All of them, a few at a time: a script is not to be behind ten thousand others."""
    for start in range(0, len(calls), AT_ONCE):
        await asyncio.gather(*calls[start : start + AT_ONCE])
