"""The cost of every operation in calls to Redis and RunComfy: independent of a machine's speed."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from random import Random
from typing import Final

import pytest

from core.jobs.job import Job
from core.money import MicroUsd
from core.store.client import RedisClient
from core.store.jobs import JobStore, Projection
from core.store.scripts import LuaScripts, load_scripts
from core.store.stores import open_stores
from core.tenants.api_keys import Credential, api_key_digest
from core.upstream.circuit_breaker import BreakerPolicy
from tests.support.ids import SeededIds
from tests.support.journal import StubGuard
from tests.support.memory_store.webhooks import MemoryEventStreams
from tests.support.object_store import input_assembler
from tests.support.records import MidpointRandom, delivery_to
from tests.support.redis import redis_client
from tests.support.store_harness import StoreHarness, redis_harness
from worker.jobs.decisions.transition import DecisionContext
from worker.jobs.job_processor import JobProcessor
from worker.jobs.job_writer import JobWriter
from worker.jobs.paid_submit import PaidSubmitter
from worker.jobs.policies import LifecyclePolicy
from worker.jobs.submission import JobSubmitter
from worker.jobs.submit_circuit_breaker import SubmitCircuitBreaker
from worker.ports import (
    Accepted,
    CancelAnswer,
    Finished,
    InProgress,
    ResultAnswer,
    RunCompleted,
    StatusAnswer,
    SubmitAnswer,
    UpstreamTimes,
)
from worker.webhooks.decisions import DeliveryRules
from worker.webhooks.delivery_worker import DeliveryWorker
from worker.webhooks.outcomes import AttemptResult, Delivered
from worker.webhooks.sender import AttemptRequest
from worker.webhooks.transport import DeliveryTransport

TENANT: Final = "team"
HOOK: Final = "https://hooks.example.com/done"
LEASE: Final = timedelta(seconds=15)
POLLS: Final = 3
MAX_CALLS_PER_JOB: Final = 5
"""Round trips of a worker beside polls: load; gate and input; claim; answer; result. Its tenant's
endpoints are read once."""
MAX_COMMANDS_PER_ADMISSION: Final = 34
"""Commands inside the admission script, for a tenant with every limit."""


@dataclass(slots=True)
class FixedPollsUpstream:
    """A RunComfy whose requests end at the poll number `POLLS`."""

    calls: list[str] = field(default_factory=list)

    async def submit(self, model_id: str, body: bytes) -> SubmitAnswer:
        self.calls.append("submit")
        return Accepted(f"up-{len(model_id)}-{len(body)}")

    async def get_status(self, upstream_id: str) -> StatusAnswer:
        self.calls.append("status")
        assert upstream_id
        if self.calls.count("status") < POLLS:
            return InProgress(is_running=True, status_word="in_progress")
        return Finished("completed")

    async def get_result(self, upstream_id: str) -> ResultAnswer:
        self.calls.append("result")
        assert upstream_id
        return RunCompleted(b'{"video": "https://a.example/b.mp4"}', MicroUsd(1), UpstreamTimes())

    async def cancel(self, upstream_id: str) -> CancelAnswer:
        raise AssertionError(upstream_id)


class AcceptingSender:
    """A receiver that accepts everything."""

    async def send(self, attempt: AttemptRequest) -> AttemptResult:
        assert attempt.url == HOOK
        return Delivered(200, timedelta(milliseconds=1))


@dataclass(slots=True)
class CostMeter:
    """Stores over a Redis client whose calls are counted."""

    wire: RedisClient
    gateway: StoreHarness
    jobs: JobStore
    upstream: FixedPollsUpstream = field(default_factory=FixedPollsUpstream)

    async def commands_of(self, act: Callable[[], Awaitable[object]]) -> tuple[int, int]:
        """The round trips and commands of one operation."""
        before = self.wire.round_trips, self.wire.commands
        await act()
        return self.wire.round_trips - before[0], self.wire.commands - before[1]

    def lifecycle(self) -> JobProcessor:
        """A job processor over the same stores."""
        clock, scripts = self.gateway.clock, LuaScripts(self.wire, load_scripts())
        stores = open_stores(self.wire, scripts, clock)
        context = DecisionContext("worker", LifecyclePolicy(), MidpointRandom())
        gate = SubmitCircuitBreaker(
            stores.circuit_breakers, stores.jobs, clock, BreakerPolicy(), lambda _: None
        )
        ids = SeededIds(Random(3))
        writer = JobWriter(stores, clock, lambda _: None)
        paid = PaidSubmitter(self.upstream, None, clock, ids, StubGuard(), context.policy.lease)
        submitter = JobSubmitter(
            stores, paid, gate, writer, context, input_assembler(stores, clock)
        )
        return JobProcessor(stores, self.upstream, submitter, writer, context)


@pytest.fixture
async def meter(redis_flushed: str) -> AsyncIterator[CostMeter]:
    async with _counted(redis_flushed) as made:
        yield made


@asynccontextmanager
async def _counted(url: str) -> AsyncIterator[CostMeter]:
    async with redis_client(url) as wire:
        gateway = redis_harness(wire)
        await LuaScripts(wire, load_scripts()).load()
        await gateway.tenant(TENANT)
        jobs = gateway.jobs
        assert isinstance(jobs, JobStore)
        yield CostMeter(wire, gateway, jobs)


async def test_an_accept_is_one_command(meter: CostMeter) -> None:
    assert await meter.commands_of(lambda: meter.gateway.submit(TENANT)) == (1, 1)


@pytest.mark.parametrize("depth", list(Projection))
async def test_a_read_is_one_command(meter: CostMeter, depth: Projection) -> None:
    job = await meter.gateway.submit(TENANT)
    credential = Credential(TENANT, api_key_digest(TENANT))
    assert await meter.commands_of(lambda: meter.jobs.read(credential, job.id, depth)) == (1, 1)


async def test_an_admission_stays_small_inside_redis(meter: CostMeter) -> None:
    await meter.gateway.submit(TENANT)
    await meter.wire.execute("CONFIG", "RESETSTAT")
    await meter.gateway.submit(TENANT)
    text = (await meter.wire.execute("INFO", "commandstats")).decode()
    rows = [row for row in text.splitlines() if row.startswith("cmdstat_")]
    calls = {row.split(":")[0]: int(row.split("calls=")[1].split(",")[0]) for row in rows}
    inside = sum(calls.values()) - calls["cmdstat_evalsha"] - calls["cmdstat_config|resetstat"]
    assert inside <= MAX_COMMANDS_PER_ADMISSION


async def test_a_job_costs_a_few_round_trips_beside_its_polls(meter: CostMeter) -> None:
    job = await meter.gateway.submit(TENANT, webhook=HOOK)
    lifecycle = meter.lifecycle()
    spent = await meter.commands_of(lambda: _begin(meter, lifecycle, job))
    polls, ending = [], (0, 0)
    while not (await _now(meter, job)).is_final:
        meter.gateway.clock.shift(timedelta(seconds=20))
        (due,) = await meter.jobs.claim_due(LEASE, 10)
        cost = await meter.commands_of(partial(lifecycle.advance, due))
        if (await _now(meter, job)).is_final:
            ending = cost
        else:
            polls.append(cost)
    # A poll without news is one write; one with news may have to read the endpoints.
    assert min(polls) == (1, 1)
    assert max(polls)[0] <= 2
    # The poll that found the end is one like the others: its one write is not counted.
    assert spent[0] + ending[0] - 1 <= MAX_CALLS_PER_JOB
    assert meter.upstream.calls == ["submit", *["status"] * POLLS, "result"]


async def _begin(meter: CostMeter, lifecycle: JobProcessor, job: Job) -> None:
    """Load and advance, as a wake-up message does."""
    record = await meter.jobs.load(job.id)
    assert record is not None
    await lifecycle.advance(record.job)


async def _now(meter: CostMeter, job: Job) -> Job:
    record = await meter.jobs.load(job.id)
    assert record is not None
    return record.job


async def test_a_claim_of_many_is_one_command(meter: CostMeter) -> None:
    for _ in range(20):
        await meter.gateway.submit(TENANT)
    meter.gateway.clock.shift(timedelta(minutes=1))
    claimed: list[Job] = []

    async def claim() -> None:
        claimed.extend(await meter.jobs.claim_due(LEASE, 100))

    assert await meter.commands_of(claim) == (1, 1)
    assert len(claimed) == 20


async def test_a_delivery_is_a_claim_a_read_and_a_completion(meter: CostMeter) -> None:
    clock, scripts = meter.gateway.clock, LuaScripts(meter.wire, load_scripts())
    stores = open_stores(meter.wire, scripts, clock)
    outbox = stores.deliveries
    posted = delivery_to(HOOK, TENANT, clock.now(), data="{}")
    assert await meter.commands_of(lambda: outbox.enqueue(None, posted)) == (1, 1)
    courier = DeliveryWorker(
        stores,
        DeliveryTransport(AcceptingSender(), MemoryEventStreams(), clock),
        DeliveryRules(MidpointRandom()),
        clock,
        SeededIds(Random(4)),
        lambda _: None,
    )

    async def deliver() -> None:
        (claimed,) = await outbox.claim_due(LEASE, 10)
        await courier.deliver(claimed)

    round_trips, commands = await meter.commands_of(deliver)
    assert (round_trips, commands) <= (3, 4)
