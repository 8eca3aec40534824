"""Shares of the slots by weight, and the wait of a light tenant, on a real Redis."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

import pytest

from core.jobs.job import Job
from core.store import keys
from core.store.client import RedisClient
from core.tenants.limits import GlobalLimits, Limits
from tests.support.redis import redis_client
from tests.support.store_harness import StoreHarness, redis_harness

WEIGHTS: Final = {"one": 1, "two": 2, "four": 4}
HEAVY: Final = 10_000
SLOTS: Final = 7
BATCH: Final = 250


@dataclass(slots=True)
class FairQueueHarness:
    """Stores with few slots: a test ends running jobs, and reads which jobs get their slots."""

    gateway: StoreHarness
    wire: RedisClient
    served: list[str] = field(default_factory=list)
    """The tenants in the order in which they got slots."""
    owners: dict[str, str] = field(default_factory=dict)
    running: list[str] = field(default_factory=list)

    async def submit(self, tenant: str, number: int = 1) -> list[Job]:
        """Submit jobs of a tenant in few round trips."""
        jobs = [self.gateway.job(tenant) for _ in range(number)]
        for start in range(0, number, BATCH):
            batch = jobs[start : start + BATCH]
            await asyncio.gather(*(self.gateway.admit(job) for job in batch))
        self.owners |= {job.id: tenant for job in jobs}
        return jobs

    async def listen(self) -> None:
        """Remove the wake-up messages: the jobs that they name have a slot."""
        flat = await self.wire.execute("ZPOPMIN", keys.WAKE_QUEUE, BATCH)
        for name in flat[::2]:
            job_id = name.decode().partition(":")[0]
            self.running.append(job_id)
            self.served.append(self.owners[job_id])

    async def run_next(self) -> None:
        """End the oldest running job; its slot goes to the next one."""
        await self.gateway.succeed(self.running.pop(0), 0)
        await self.listen()


@pytest.fixture
async def harness(redis_flushed: str) -> AsyncIterator[FairQueueHarness]:
    async with redis_client(redis_flushed) as wire:
        gateway = redis_harness(wire)
        await gateway.admin.set_limits(GlobalLimits(running=SLOTS))
        for name, weight in WEIGHTS.items():
            await gateway.tenant(name, Limits(weight=weight))
        yield FairQueueHarness(gateway, wire)


async def test_shares_are_as_due_whatever_the_load(harness: FairQueueHarness) -> None:
    """One tenant has 10,000 waiting jobs, another just enough: only the weights count."""
    for name, load in (("one", HEAVY), ("two", 210), ("four", 450)):
        await harness.submit(name, load)
    await harness.listen()
    harness.served.clear()
    turns = 700
    for _ in range(turns):
        await harness.run_next()
    print(f"\n{'tenant':8}{'weight':>8}{'due':>8}{'got':>8}{'share':>8}{'gap':>6}")
    got, everyone = Counter(harness.served), sum(WEIGHTS.values())
    for name, weight in WEIGHTS.items():
        due = turns * weight / everyone
        gap = _longest_gap(harness.served, name)
        share = got[name] / turns
        print(f"{name:8}{weight:8}{due:8.1f}{got[name]:8}{share:8.3f}{gap:6}")
        assert abs(got[name] - due) <= len(WEIGHTS)
        assert gap <= everyone / weight + len(WEIGHTS)


async def test_a_light_tenant_waits_one_turn_behind_ten_thousand(harness: FairQueueHarness) -> None:
    await harness.submit("one", HEAVY)
    await harness.listen()
    waits = []
    for _ in range(20):
        for _ in range(5):
            await harness.run_next()
        await harness.submit("four")
        before = len(harness.served)
        await harness.run_next()
        waits.append(harness.served[before:].index("four") + 1)
    print(f"\nturns until each of {len(waits)} jobs of the light one ran: {Counter(waits)}")
    assert max(waits) == 1


async def test_a_newcomers_first_job_waits_one_turn_behind_ten_thousand(
    harness: FairQueueHarness,
) -> None:
    await harness.submit("four", HEAVY)
    await harness.listen()
    await harness.submit("one")
    before = len(harness.served)
    await harness.run_next()
    assert harness.served[before:] == ["one"]


async def test_a_tenant_that_ran_alone_is_not_put_behind_later(harness: FairQueueHarness) -> None:
    """Slots that no other tenant wanted do not count against the tenant that got them."""
    for _ in range(100):
        await harness.submit("one")
        await harness.listen()
        if len(harness.running) == SLOTS:
            await harness.run_next()
    await harness.submit("one", 60)
    await harness.submit("two", 60)
    harness.served.clear()
    for _ in range(60):
        await harness.run_next()
    assert abs(Counter(harness.served)["one"] - 20) <= len(WEIGHTS)


def _longest_gap(served: list[str], name: str) -> int:
    """The most slots between two of one tenant."""
    places = [place for place, tenant in enumerate(served) if tenant == name]
    return max(after - before for before, after in pairwise(places))
