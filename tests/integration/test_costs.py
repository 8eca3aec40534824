"""What everything costs in Redis and at RunComfy, as counts: no machine's speed changes them."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Final

import pytest

from core.circuit_breaker import BreakerPolicy
from core.money import MicroUsd
from core.store.deliveries import DeliveryStore
from core.store.jobs import Depth, JobStore
from core.store.scripts import Scripts, read_scripts
from core.store.webhook_endpoints import WebhookStore
from core.tenants.api_keys import Credential, digest_of
from tests.builders import MiddleChance, delivery_to
from tests.contract.gateway import in_redis, wire_to
from tests.fakes.ids import SeededIds
from tests.fakes.outbox import MemorySinks
from worker.jobs.decisions.transition import Rules
from worker.jobs.job_processor import Lifecycle
from worker.jobs.job_writer import Hands
from worker.jobs.policies import LifecyclePolicy
from worker.jobs.submit_gate import BreakerGate
from worker.ports import Accepted, Completed, Ended, Open, Times
from worker.webhooks.delivery_worker import Courier, CourierHands, CourierPolicy
from worker.webhooks.outcomes import Delivered

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from core.jobs.job import Job
    from core.store.client import Wire
    from tests.contract.gateway import Gateway
    from worker.ports import CancelAnswer, ResultAnswer, StatusAnswer, SubmitAnswer
    from worker.webhooks.outcomes import Outcome
    from worker.webhooks.sender import Attempt

TENANT: Final = "team"
HOOK: Final = "https://hooks.example.com/done"
LEASE: Final = timedelta(seconds=15)
POLLS: Final = 3
MOST_A_JOB: Final = 5
"""Round trips of a worker beside polls: load; gate and input; claim; answer; result. Its tenant's
endpoints are read once."""
MOST_IN_ADMISSION: Final = 36
"""Commands inside the admission script, for a tenant with every limit."""


@dataclass(slots=True)
class Scripted:
    """A RunComfy whose request takes `POLLS` looks."""

    calls: list[str] = field(default_factory=list)

    async def submit(self, model_id: str, body: bytes) -> SubmitAnswer:
        self.calls.append("submit")
        return Accepted(f"up-{len(model_id)}-{len(body)}")

    async def status(self, upstream_id: str) -> StatusAnswer:
        self.calls.append("status")
        assert upstream_id
        if self.calls.count("status") < POLLS:
            return Open(in_progress=True, word="in_progress")
        return Ended("completed")

    async def result(self, upstream_id: str) -> ResultAnswer:
        self.calls.append("result")
        assert upstream_id
        return Completed({"video": "https://a.example/b.mp4"}, MicroUsd(1), Times())

    async def cancel(self, upstream_id: str) -> CancelAnswer:
        raise AssertionError(upstream_id)


class Sender:
    """A receiver that takes everything."""

    async def send(self, attempt: Attempt) -> Outcome:
        assert attempt.url == HOOK
        return Delivered(200, timedelta(milliseconds=1))


@dataclass(slots=True)
class Costs:
    """A gateway over a counted wire."""

    wire: Wire
    gateway: Gateway
    jobs: JobStore
    upstream: Scripted = field(default_factory=Scripted)

    async def of(self, act: Callable[[], Awaitable[object]]) -> tuple[int, int]:
        """Round trips and commands of one act."""
        before = self.wire.round_trips, self.wire.commands
        await act()
        return self.wire.round_trips - before[0], self.wire.commands - before[1]

    def lifecycle(self) -> Lifecycle:
        """A worker's, over the same store."""
        clock, scripts = self.gateway.clock, Scripts(self.wire, read_scripts())
        policy = LifecyclePolicy()
        return Lifecycle(
            Hands(
                name="worker",
                jobs=self.jobs,
                tenants=self.gateway.tenants,
                webhooks=WebhookStore(self.wire, scripts, clock),
                upstream=self.upstream,
                gate=BreakerGate(self.gateway.breakers, clock, BreakerPolicy(), lambda _: None),
                clock=clock,
                ids=SeededIds(Random(3)),
                emit=lambda _: None,
                rules=Rules(policy, MiddleChance()),
            )
        )


@pytest.fixture
async def costs(redis_flushed: str) -> AsyncIterator[Costs]:
    async with _counted(redis_flushed) as made:
        yield made


@asynccontextmanager
async def _counted(url: str) -> AsyncIterator[Costs]:
    async with wire_to(url) as wire:
        gateway = in_redis(wire)
        await Scripts(wire, read_scripts()).load()
        await gateway.tenant(TENANT)
        jobs = gateway.jobs
        assert isinstance(jobs, JobStore)
        yield Costs(wire, gateway, jobs)


async def test_an_accept_is_one_command(costs: Costs) -> None:
    assert await costs.of(lambda: costs.gateway.submit(TENANT)) == (1, 1)


@pytest.mark.parametrize("depth", list(Depth))
async def test_a_read_is_one_command(costs: Costs, depth: Depth) -> None:
    job = await costs.gateway.submit(TENANT)
    credential = Credential(TENANT, digest_of(TENANT))
    assert await costs.of(lambda: costs.jobs.read(credential, job.id, depth)) == (1, 1)


async def test_an_admission_stays_small_inside_redis(costs: Costs) -> None:
    await costs.gateway.submit(TENANT)
    await costs.wire.execute("CONFIG", "RESETSTAT")
    await costs.gateway.submit(TENANT)
    text = (await costs.wire.execute("INFO", "commandstats")).decode()
    rows = [row for row in text.splitlines() if row.startswith("cmdstat_")]
    calls = {row.split(":")[0]: int(row.split("calls=")[1].split(",")[0]) for row in rows}
    inside = sum(calls.values()) - calls["cmdstat_evalsha"] - calls["cmdstat_config|resetstat"]
    assert inside <= MOST_IN_ADMISSION


async def test_a_job_costs_a_few_round_trips_beside_its_polls(costs: Costs) -> None:
    job = await costs.gateway.submit(TENANT, webhook=HOOK)
    lifecycle = costs.lifecycle()
    spent = await costs.of(lambda: _begin(costs, lifecycle, job))
    polls, ending = [], (0, 0)
    while not (await _now(costs, job)).final:
        costs.gateway.clock.jump(timedelta(seconds=20))
        (due,) = await costs.jobs.claim_due(LEASE, 10)
        cost = await costs.of(partial(lifecycle.advance, due))
        if (await _now(costs, job)).final:
            ending = cost
        else:
            polls.append(cost)
    # A look without news is one write; one with news may have to ask whom it concerns.
    assert min(polls) == (1, 1)
    assert max(polls)[0] <= 2
    # The look that saw the end is a poll like another: its one write is not counted.
    assert spent[0] + ending[0] - 1 <= MOST_A_JOB
    assert costs.upstream.calls == ["submit", *["status"] * POLLS, "result"]


async def _begin(costs: Costs, lifecycle: Lifecycle, job: Job) -> None:
    """As the bell does: load, then advance."""
    record = await costs.jobs.load(job.id)
    assert record is not None
    await lifecycle.advance(record.job)


async def _now(costs: Costs, job: Job) -> Job:
    record = await costs.jobs.load(job.id)
    assert record is not None
    return record.job


async def test_a_claim_of_many_is_one_command(costs: Costs) -> None:
    for _ in range(20):
        await costs.gateway.submit(TENANT)
    costs.gateway.clock.jump(timedelta(minutes=1))
    claimed: list[Job] = []

    async def claim() -> None:
        claimed.extend(await costs.jobs.claim_due(LEASE, 100))

    assert await costs.of(claim) == (1, 1)
    assert len(claimed) == 20


async def test_a_delivery_is_a_claim_a_look_and_a_settlement(costs: Costs) -> None:
    clock, scripts = costs.gateway.clock, Scripts(costs.wire, read_scripts())
    outbox = DeliveryStore(costs.wire, scripts, clock)
    posted = delivery_to(HOOK, TENANT, clock.now(), data="{}")
    assert await costs.of(lambda: outbox.post(None, posted)) == (1, 1)
    courier = Courier(
        CourierHands(
            outbox=outbox,
            jobs=costs.jobs,
            setups=WebhookStore(costs.wire, scripts, clock),
            sender=Sender(),
            sinks=MemorySinks(),
            clock=clock,
            rng=MiddleChance(),
            ids=SeededIds(Random(4)),
            emit=lambda _: None,
        ),
        CourierPolicy(),
    )

    async def deliver() -> None:
        (claimed,) = await outbox.claim_due(LEASE, 10)
        await courier.deliver(claimed)

    round_trips, commands = await costs.of(deliver)
    assert (round_trips, commands) <= (3, 4)
