"""Endpoints come and go while jobs end: each end is told to those in force when it was written."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Final

from core.jobs.job import Fact
from core.store.deliveries import DeliveryStore
from core.store.jobs import JobStore
from core.store.scripts import Scripts, read_scripts
from core.store.webhook_endpoints import SetupChange, WebhookStore
from core.transactions.job_update import Change, Outcome
from core.webhooks.config import WebhookSetup
from core.webhooks.endpoint import Endpoint
from tests.contract.gateway import in_redis, wire_to
from tests.fakes.ids import SeededIds
from worker.jobs.job_writer import Announcer

if TYPE_CHECKING:
    from core.clock import Clock
    from core.jobs.job import Job
    from core.store.client import Wire

TENANT: Final = "team"
WORKERS: Final = 2
JOBS: Final = 150
CHANGES: Final = 40


@dataclass(frozen=True, slots=True)
class Ended:
    """Whom a job's end was told to, and what may have been in force when it was written."""

    told: frozenset[str]
    possible: tuple[frozenset[str], ...]


@dataclass(slots=True)
class Owner:
    """Adds and removes endpoints, and remembers which were in force after each change."""

    store: WebhookStore
    clock: Clock
    ever: list[frozenset[str]] = field(default_factory=lambda: [frozenset()])
    """The last one may be on its way."""
    sure: int = 0
    """The last one that surely was in force."""
    taken_up: asyncio.Event = field(default_factory=asyncio.Event)

    async def change_again_and_again(self, queued: list[Job], rng: Random) -> None:
        """Make a change whenever a few more jobs have been taken up."""
        setup = WebhookSetup(TENANT)
        for number in range(CHANGES):
            while JOBS - len(queued) < number * JOBS // CHANGES:
                self.taken_up.clear()
                await self.taken_up.wait()
            after = self._changed(setup, number, rng)
            self.ever.append(frozenset(end.id for end in after.endpoints))
            assert await self.store.change(SetupChange(setup, after))
            self.sure, setup = len(self.ever) - 1, after

    def _changed(self, setup: WebhookSetup, number: int, rng: Random) -> WebhookSetup:
        if len(setup.endpoints) > rng.randrange(1, 5):
            return setup.without(rng.choice(setup.endpoints).id)
        url = f"https://receiver-{number}.example/"
        return setup.adding(Endpoint(f"ep_{number}", url, self.clock.now()))


class Worker:
    """Writes ends as a worker's process does, over a connection of its own."""

    def __init__(self, wire: Wire, clock: Clock, owner: Owner, seed: int) -> None:
        scripts = Scripts(wire, read_scripts())
        self._jobs = JobStore(wire, scripts, clock)
        self._deliveries = DeliveryStore(wire, scripts, clock)
        setups, ids = WebhookStore(wire, scripts, clock), SeededIds(Random(seed))
        self._announcer = Announcer(self._jobs, setups, ids, clock)
        self._owner = owner
        self._clock = clock

    async def end_all(self, queued: list[Job]) -> list[Ended]:
        """End what is left, one after the other."""
        found = []
        while queued:
            job = queued.pop()
            self._owner.taken_up.set()
            found.append(await self._end(job))
        return found

    async def _end(self, job: Job) -> Ended:
        now, first = self._clock.now(), self._owner.sure
        after = job.after(Fact.CANCEL_ASKED, now, due_at=None, finished_at=now)
        while (outcome := await self._announcer.store(Change(job, after))) is not Outcome.STORED:
            assert outcome is Outcome.SETUP_CHANGED
        possible = tuple(self._owner.ever[first:])
        view = await self._jobs.view(job.id)
        assert view is not None
        told = [await self._deliveries.load(name) for name in view.delivery_ids]
        return Ended(frozenset(one.endpoint for one in told if one and one.endpoint), possible)


async def test_every_end_is_told_to_the_endpoints_that_are_in_force(redis_flushed: str) -> None:
    async with AsyncExitStack() as stack:
        own, *wires = [
            await stack.enter_async_context(wire_to(redis_flushed)) for _ in range(1 + WORKERS)
        ]
        gateway = in_redis(own)
        await gateway.tenant(TENANT)
        scripts, clock = Scripts(own, read_scripts()), gateway.clock
        owner = Owner(WebhookStore(own, scripts, clock), clock)
        queued = [await gateway.submit(TENANT) for _ in range(JOBS)]
        workers = [Worker(wire, clock, owner, seed) for seed, wire in enumerate(wires)]
        changing = asyncio.create_task(owner.change_again_and_again(queued, Random(7)))
        found = await asyncio.gather(*(worker.end_all(queued) for worker in workers))
        await changing
    ended = [one for each in found for one in each]
    assert len(ended) == JOBS
    assert [one for one in ended if one.told not in one.possible] == []
    assert len({one.told for one in ended}) > CHANGES // 4, "too few changes fell between the ends"
