"""Under any interleaving on a real Redis amounts add up, and no slot is idle or lost."""

import asyncio
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from core.errors import CallerError
from core.jobs.job import BillingStatus, FollowUp, JobState
from core.money import MicroUsd
from core.operators.pauses import Pause
from core.store.client import RedisClient
from core.tenants.limits import GlobalLimits, Limits
from core.transactions.job_update import Change, WriteResult
from tests.support import consistency
from tests.support.redis import redis_client
from tests.support.store_harness import StoreHarness, redis_harness

TENANTS: Final = ("ape", "bee", "cow")
MODELS: Final = ("kling/fast", "kling/slow")
CONNECTIONS: Final = 4
TASKS: Final = 12
OPERATIONS: Final = 8
MIN_VALUE: Final = 0


@dataclass(frozen=True, slots=True)
class ConcurrentOperations:
    """The state that the tasks of one example share."""

    gateways: list[StoreHarness]
    rng: Random
    jobs: list[str]

    async def run_operation(self) -> None:
        """Make one random call over a random connection."""
        gateway = self.rng.choice(self.gateways)
        acts = (self._submit, self._submit, self._claim, self._end, self._end, self._operate)
        with suppress(CallerError):
            await self.rng.choice(acts)(gateway)

    async def _submit(self, gateway: StoreHarness) -> None:
        price = self.rng.choice((None, 0, 1, 700, 1_260_000))
        estimate = None if price is None else MicroUsd(price)
        job = gateway.job(
            self.rng.choice(TENANTS),
            self.rng.choice(MODELS),
            estimate=estimate,
            priority=self.rng.randrange(3),
        )
        await gateway.admit(job)
        self.jobs.append(job.id)

    async def _claim(self, gateway: StoreHarness) -> None:
        await self._move(gateway, JobState.SUBMITTING, billed=BillingStatus.UNKNOWN)

    async def _end(self, gateway: StoreHarness) -> None:
        """Store a job's end, perhaps again with another cost: the last one counts."""
        cost = self.rng.choice((None, 0, 699, 700, 701, 2_000_000))
        await self._move(
            gateway,
            self.rng.choice((JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)),
            billed=self.rng.choice(tuple(BillingStatus)),
            cost=None if cost is None else MicroUsd(cost),
            follow_up=self.rng.choice((None, None, FollowUp.READ_COST)),
        )

    async def _operate(self, gateway: StoreHarness) -> None:
        rng, admin = self.rng, gateway.admin
        cap = rng.choice((None, 0, 1, 3))
        pause = Pause(rng.choice(("all", "tenant:ape", "model:kling/slow")))
        match rng.randrange(4):
            case 0:
                await admin.set_limits(GlobalLimits(running=cap, models=((MODELS[1], 1),)))
            case 1:
                await gateway.set_limits(rng.choice(TENANTS), Limits(running=cap, waiting=8))
            case 2:
                await admin.pause(pause)
            case _:
                await admin.resume(pause)

    async def _move(
        self,
        gateway: StoreHarness,
        state: JobState,
        **changes: Any,  # noqa: ANN401 - fields of the record
    ) -> WriteResult | None:
        if not self.jobs:
            return None
        job_id = self.rng.choice(self.jobs)
        record = await gateway.jobs.load(job_id)
        assert record is not None
        if record.job.is_final and (state is JobState.SUBMITTING or record.job.follow_up is None):
            return None
        after = record.job.evolve(gateway.clock.now(), state=state, **changes)
        return await gateway.jobs.store(Change(record.job, after))


async def _watch(wire: RedisClient, done: asyncio.Event) -> None:
    """At any moment nothing is negative or held twice."""
    while not done.is_set():
        for key, row in (await consistency.windows(wire)).items():
            assert min(row.numbers) >= MIN_VALUE, key
            assert row.settled + row.released <= row.reserved, key
        await asyncio.sleep(0)


async def _live(url: str, seed: int) -> list[str]:
    async with AsyncExitStack() as stack:
        wires = [await stack.enter_async_context(redis_client(url)) for _ in range(CONNECTIONS)]
        await wires[0].execute("FLUSHALL")
        gateways = [redis_harness(wire) for wire in wires]
        for number, gateway in enumerate(gateways):
            gateway.ids._rng.seed(number)
        for name in TENANTS:
            await gateways[0].tenant(name, Limits(running=2, usd_per_day=MicroUsd(9_000_000)))
        world = ConcurrentOperations(gateways, Random(seed), [])

        async def busy() -> None:
            for _ in range(OPERATIONS):
                await world.run_operation()

        done = asyncio.Event()
        watching = asyncio.create_task(_watch(wires[-1], done))
        await asyncio.gather(*(busy() for _ in range(TASKS)))
        done.set()
        await watching
        found = await consistency.find_inconsistencies(wires[0])
        return found + await _drain(world, wires[0])


async def _drain(world: ConcurrentOperations, wire: RedisClient) -> list[str]:
    """Let every job end: no queue is stuck, and every counter is 0."""
    gateway = world.gateways[0]
    for what in ("all", "tenant:ape", "model:kling/slow"):
        await gateway.admin.resume(Pause(what))
    await gateway.admin.set_limits(GlobalLimits(running=1))
    for name in TENANTS:
        await gateway.set_limits(name, Limits(running=1))
    for _ in world.jobs:
        for held in await consistency.records(wire):
            if held.has_slot:
                await gateway.cancel(held.job.id)
    left = [h.job.id for h in await consistency.records(wire) if not h.job.is_final or h.has_slot]
    return [f"{name} never got its turn" for name in left] + await consistency.find_inconsistencies(
        wire
    )


def test_amounts_and_slots_agree_with_a_recount(redis_url: str) -> None:
    @settings(
        max_examples=25,
        deadline=None,
        phases=(Phase.explicit, Phase.reuse, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )
    @given(seed=st.integers(0, 2**32))
    def judge(seed: int) -> None:
        assert asyncio.run(_live(redis_url, seed)) == []

    judge()
