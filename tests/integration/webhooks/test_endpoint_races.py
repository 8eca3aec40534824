"""Endpoints change while jobs end: each end goes to the endpoints valid when it was written."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from random import Random
from typing import Final

from core.clock import Clock
from core.jobs.job import Job, Trigger
from core.store.client import RedisClient
from core.store.deliveries import DeliveryStore
from core.store.jobs import JobStore
from core.store.scripts import LuaScripts, load_scripts
from core.store.webhook_endpoints import WebhookConfigStore
from core.transactions.job_update import Change, WriteResult
from core.transactions.webhook_config_update import WebhookConfigUpdate
from core.webhooks.config import WebhookConfig
from core.webhooks.endpoint import Endpoint
from tests.support.ids import SeededIds
from tests.support.partial_stores import partial_stores
from tests.support.redis import redis_client
from tests.support.store_harness import redis_harness
from worker.jobs.job_writer import JobWriter

TENANT: Final = "team"
WORKERS: Final = 2
JOBS: Final = 150
CHANGES: Final = 40


@dataclass(frozen=True, slots=True)
class EndNotices:
    """The endpoints of a job's end, and those that may have been valid when it was written."""

    notified: frozenset[str]
    allowed: tuple[frozenset[str], ...]


@dataclass(slots=True)
class EndpointOwner:
    """Adds and removes endpoints, and keeps those that were valid after each change."""

    store: WebhookConfigStore
    clock: Clock
    all_endpoints: list[frozenset[str]] = field(default_factory=lambda: [frozenset()])
    """In order of the changes; the last may not be stored yet."""
    confirmed: int = 0
    """Index of the last that is certainly stored."""
    in_force: asyncio.Event = field(default_factory=asyncio.Event)

    async def change_again_and_again(self, queued: list[Job], rng: Random) -> None:
        """Make a change each time a few more jobs have started."""
        setup = WebhookConfig(TENANT)
        for number in range(CHANGES):
            while JOBS - len(queued) < number * JOBS // CHANGES:
                self.in_force.clear()
                await self.in_force.wait()
            after = self._changed(setup, number, rng)
            self.all_endpoints.append(frozenset(end.id for end in after.endpoints))
            assert await self.store.update(WebhookConfigUpdate(setup, after))
            self.confirmed, setup = len(self.all_endpoints) - 1, after

    def _changed(self, setup: WebhookConfig, number: int, rng: Random) -> WebhookConfig:
        if len(setup.endpoints) > rng.randrange(1, 5):
            return setup.without_endpoint(rng.choice(setup.endpoints).id)
        url = f"https://receiver-{number}.example/"
        return setup.with_endpoint(Endpoint(f"ep_{number}", url, self.clock.now()))


class EndingWorker:
    """Stores ends as a worker does, over its own connection."""

    def __init__(self, wire: RedisClient, clock: Clock, owner: EndpointOwner, seed: int) -> None:
        scripts = LuaScripts(wire, load_scripts())
        self._jobs = JobStore(wire, scripts, clock)
        self._deliveries = DeliveryStore(wire, scripts, clock)
        setups, _ids = WebhookConfigStore(wire, scripts, clock), SeededIds(Random(seed))
        stores = partial_stores(jobs=self._jobs, webhook_configs=setups)
        self._writer = JobWriter(stores, clock, lambda _: None)
        self._owner = owner
        self._clock = clock

    async def end_all(self, queued: list[Job]) -> list[EndNotices]:
        """End the remaining jobs, one after the other."""
        found = []
        while queued:
            job = queued.pop()
            self._owner.in_force.set()
            found.append(await self._end(job))
        return found

    async def _end(self, job: Job) -> EndNotices:
        now, first = self._clock.now(), self._owner.confirmed
        after = job.transition(Trigger.CANCEL_REQUESTED, now, next_run_at=None, finished_at=now)
        while (outcome := await self._writer.write(Change(job, after))) is not WriteResult.STORED:
            assert outcome is WriteResult.WEBHOOK_CONFIG_CHANGED
        possible = tuple(self._owner.all_endpoints[first:])
        view = await self._jobs.load_view(job.id)
        assert view is not None
        told = [await self._deliveries.load(name) for name in view.delivery_ids]
        return EndNotices(
            frozenset(one.endpoint_id for one in told if one and one.endpoint_id), possible
        )


async def test_every_end_goes_to_the_endpoints_that_are_valid(redis_flushed: str) -> None:
    async with AsyncExitStack() as stack:
        own, *wires = [
            await stack.enter_async_context(redis_client(redis_flushed)) for _ in range(1 + WORKERS)
        ]
        gateway = redis_harness(own)
        await gateway.tenant(TENANT)
        scripts, clock = LuaScripts(own, load_scripts()), gateway.clock
        owner = EndpointOwner(WebhookConfigStore(own, scripts, clock), clock)
        queued = [await gateway.submit(TENANT) for _ in range(JOBS)]
        workers = [EndingWorker(wire, clock, owner, seed) for seed, wire in enumerate(wires)]
        changing = asyncio.create_task(owner.change_again_and_again(queued, Random(7)))
        found = await asyncio.gather(*(worker.end_all(queued) for worker in workers))
        await changing
    ended = [one for each in found for one in each]
    assert len(ended) == JOBS
    assert [one for one in ended if one.notified not in one.allowed] == []
    assert len({one.notified for one in ended}) > CHANGES // 4, (
        "too few changes fell between the ends"
    )
