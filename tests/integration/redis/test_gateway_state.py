"""One read of Redis returns the gateway's state, at the same cost for any number of jobs."""

import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

import pytest

from core.billing.balance import AccountBalance
from core.clock import to_ms
from core.files.records import StoredFile
from core.jobs.job import JobState, Trigger
from core.money import MicroUsd
from core.observability.events import Event
from core.observability.metric_types import MetricSource
from core.observability.prometheus import MetricsRegistry
from core.operators.pauses import Pause
from core.store import keys
from core.store.client import RedisClient, build_connection_pool
from core.store.connection import RoundTripObserver
from core.store.gateway_state import STUCK_AFTER, GatewayStateStore
from core.store.scripts import LuaScripts, load_scripts
from core.tenants.api_keys import ApiKey
from core.tenants.limits import Limits
from core.tenants.tenant import Tenant
from core.tenants.windows import UTC_CALENDAR, Window
from core.transactions.webhook_config_update import WebhookConfigUpdate
from core.webhooks.circuit_breaker import EndpointCircuit
from core.webhooks.delivery import CircuitUpdate
from core.webhooks.endpoint import DisabledReason, Endpoint
from service.metrics.service_metrics import ServiceMetrics
from tests.support.backends import StoreBackend, redis_backend
from tests.support.clock import FakeClock
from tests.support.redis import redis_policy
from tests.support.store_steps import SECOND, admit_job, apply_triggers, enqueue_jobless_delivery

F: Final = Trigger
BUDGET: Final = Limits(running=4, usd_per_day=MicroUsd(5_000_000), unknown_price_counts=MicroUsd(1))


@dataclass(frozen=True, slots=True)
class StateHarness:
    """The stores over a real Redis, and the reader of the state."""

    subject: StoreBackend
    gateway_state: GatewayStateStore
    wire: RedisClient
    events: list[Event]


@pytest.fixture
async def harness(redis_flushed: str) -> AsyncIterator[StateHarness]:
    """Two tenants, one of them with a budget."""
    clock = FakeClock()
    told: list[Event] = []
    source = build_connection_pool(redis_policy(redis_flushed), "test")
    async with RedisClient(source, RoundTripObserver(clock, told.append)) as wire:
        scripts = LuaScripts(wire, load_scripts())
        subject = redis_backend(clock, wire)
        for name, limits in (("ada", BUDGET), ("bob", Limits())):
            tenant = Tenant(name, clock.now(), limits=limits)
            key = ApiKey(f"digest-{name}", name, clock.now())
            assert await subject.tenants.create(tenant, key)
        overview = GatewayStateStore(wire, scripts, subject, clock, 10)
        yield StateHarness(subject, overview, wire, told)


async def test_an_empty_gateway(harness: StateHarness) -> None:
    overview = await harness.gateway_state.read()
    assert overview.jobs.by_state == dict.fromkeys(overview.jobs.by_state, 0)
    assert (overview.jobs.oldest_unsubmitted_at, overview.deliveries.endpoints) == (None, 0)
    assert [tenant.name for tenant in overview.tenants] == ["ada", "bob"]
    assert overview.redis.memory
    assert overview.redis.keys


async def test_tenants_beyond_the_limit_on_labels_are_counted(harness: StateHarness) -> None:
    subject = harness.subject
    scripts = LuaScripts(harness.wire, load_scripts())
    narrow = GatewayStateStore(harness.wire, scripts, subject, subject.clock, 1)
    state = await narrow.read()
    assert ([tenant.name for tenant in state.tenants], state.unlabelled_tenants) == (["ada"], 1)
    assert (await harness.gateway_state.read()).unlabelled_tenants == 0


async def test_jobs_by_state_and_the_oldest_that_runcomfy_has_not_got(
    harness: StateHarness,
) -> None:
    subject = harness.subject
    born = subject.clock.now()
    first = await admit_job(subject, "req_1")
    await subject.clock.advance(10 * SECOND)
    await admit_job(subject, "req_2")
    again = await apply_triggers(subject, first, F.CLAIMED, F.NOT_SENT)
    jobs = (await harness.gateway_state.read()).jobs
    assert jobs.by_state[JobState.QUEUED] == 2
    assert jobs.oldest_unsubmitted_at == born  # a submit that did not leave makes it no younger

    running = await apply_triggers(subject, again, F.CLAIMED, F.ACCEPTED)
    jobs = (await harness.gateway_state.read()).jobs
    assert jobs.by_state[JobState.RUNNING] == 1
    assert jobs.oldest_unsubmitted_at == born + 10 * SECOND
    await apply_triggers(subject, running, F.FINISHED, F.COLLECTED)
    assert sum((await harness.gateway_state.read()).jobs.by_state.values()) == 1


async def test_jobs_in_doubt_and_overdue_jobs(harness: StateHarness) -> None:
    subject = harness.subject
    since = subject.clock.now()
    await apply_triggers(subject, await admit_job(subject), F.CLAIMED, F.NO_ANSWER)
    jobs = (await harness.gateway_state.read()).jobs
    assert (jobs.oldest_in_doubt_at, jobs.oldest_unsubmitted_at, jobs.stuck) == (since, None, 0)
    await subject.clock.advance(STUCK_AFTER + 5 * SECOND)
    assert (await harness.gateway_state.read()).jobs.stuck == 1


async def test_endpoints_that_get_nothing(harness: StateHarness) -> None:
    setups, now = harness.subject.webhook_configs, harness.subject.clock.now()
    before = await setups.load("ada")
    assert before is not None
    for number, why in enumerate((None, DisabledReason.GONE, DisabledReason.BY_OWNER)):
        url = f"https://{number}.example.com/"
        after = before.with_endpoint(Endpoint(f"end_{number}", url, now, disabled_reason=why))
        assert await setups.update(WebhookConfigUpdate(before, after))
        before = after
    ada, bob = (await harness.gateway_state.read()).tenants
    assert (ada.disabled_reasons, bob.disabled_reasons) == (
        (DisabledReason.GONE, DisabledReason.BY_OWNER),
        (),
    )


async def test_tenants_slots_queue_and_money(harness: StateHarness) -> None:
    for number in range(6):
        await admit_job(harness.subject, f"req_{number}")
    today = UTC_CALENDAR.windows_at(harness.subject.clock.now())[0]
    row = struct.pack(">9q", 6, 0, 0, 0, 0, 0, 0, 1, 700_000)
    await harness.wire.execute("HSET", keys.usage("ada"), today.name, row)
    ada, bob = (await harness.gateway_state.read()).tenants
    assert (ada.running, ada.waiting, ada.slot_limit) == (4, 2, 4)
    assert (bob.running, bob.waiting, bob.slot_limit) == (0, 0, None)
    day, month = ada.windows
    assert (day.window, day.jobs, day.budget) == (Window.DAY, 6, MicroUsd(5_000_000))
    assert (day.cost_saved, month.cost_saved) == (700_000, 0)
    assert (month.window, month.jobs, month.budget) == (Window.MONTH, 6, None)


async def test_the_bytes_that_tenants_store(harness: StateHarness) -> None:
    subject = harness.subject
    file = StoredFile("file_1", "ada", subject.clock.now(), "video/mp4", 10, "ab", "00")
    await subject.files.add(file)
    before = await subject.tenants.load("ada")
    assert before is not None
    limits = replace(before.limits, storage_bytes=100)
    after = replace(before, version=before.version + 1, limits=limits)
    assert await subject.tenants.change(before, after)
    ada, bob = (await harness.gateway_state.read()).tenants
    assert (ada.stored_bytes, ada.stored_bytes_limit) == (10, 100)
    assert (bob.stored_bytes, bob.stored_bytes_limit) == (0, None)


async def test_deliveries_of_a_paused_endpoint_are_not_due(harness: StateHarness) -> None:
    subject, now = harness.subject, harness.subject.clock.now()
    for name, channel in (("msg_1", "a"), ("msg_2", "a"), ("msg_3", "b")):
        assert await subject.deliveries.enqueue(
            None, enqueue_jobless_delivery(subject, name, queue=channel)
        )
    later = enqueue_jobless_delivery(subject, "msg_4", queue="b", next_attempt_at=now + 60 * SECOND)
    assert await subject.deliveries.enqueue(None, later)
    shut = EndpointCircuit(version=1, paused_until=now + 30 * SECOND)
    assert await subject.deliveries.update_circuit(CircuitUpdate("a", EndpointCircuit(), shut))
    await subject.clock.advance(7 * SECOND)
    backlog = (await harness.gateway_state.read()).deliveries
    assert (backlog.pending, backlog.due, backlog.endpoints, backlog.paused) == (4, 1, 2, 1)
    assert backlog.oldest_due_at == now
    assert len(await subject.deliveries.claim_due(30 * SECOND, 10)) == 1
    backlog = (await harness.gateway_state.read()).deliveries
    assert (backlog.due, backlog.in_flight, backlog.oldest_due_at) == (0, 1, None)


async def test_the_wallet_the_workers_and_the_pauses(harness: StateHarness) -> None:
    now = harness.subject.clock.now()
    await harness.subject.admin.store_balance(AccountBalance(MicroUsd(9_000_000), now))
    await harness.subject.admin.set_minimum_balance(MicroUsd(1_000_000))
    await harness.subject.heartbeats.record("w1")
    await harness.wire.execute("ZADD", keys.WORKERS, to_ms(now - timedelta(minutes=2)), "w2")
    known = (await harness.gateway_state.read()).dependencies
    assert (known.account_balance.balance, known.account_balance.minimum) == (9_000_000, 1_000_000)
    assert known.workers == 1


async def test_the_oldest_pause_is_known_from_its_first_time(harness: StateHarness) -> None:
    admin, clock = harness.subject.admin, harness.subject.clock
    begin = clock.now()
    assert (await harness.gateway_state.read()).concurrency.oldest_pause_at is None
    await admin.pause(Pause.everything())
    await clock.advance(timedelta(hours=4))
    await admin.pause(Pause.everything())
    await admin.pause(Pause.tenant("ada"))
    found = (await harness.gateway_state.read()).concurrency
    assert (found.pauses, found.oldest_pause_at) == (2, begin)
    await admin.resume(Pause.everything())
    found = (await harness.gateway_state.read()).concurrency
    assert (found.pauses, found.oldest_pause_at) == (1, clock.now())


async def test_a_reading_costs_the_same_however_many_jobs_there_are(harness: StateHarness) -> None:
    async def cost() -> tuple[int, int]:
        before = harness.wire.commands, harness.wire.round_trips
        await harness.gateway_state.read()
        return harness.wire.commands - before[0], harness.wire.round_trips - before[1]

    await harness.gateway_state.read()  # the script is loaded once
    few = await cost()
    for number in range(300):
        await admit_job(harness.subject, f"req_{number}", "bob")
        await harness.subject.deliveries.enqueue(
            None, enqueue_jobless_delivery(harness.subject, f"msg_{number}")
        )
    assert await cost() == few
    assert few[0] < 40
    assert few[1] <= 4


async def test_round_trips_are_emitted(harness: StateHarness) -> None:
    trips = harness.wire.round_trips
    harness.events.clear()
    await harness.wire.execute("PING")
    assert (harness.wire.round_trips - trips, len(harness.events)) == (1, 1)


async def test_the_figures_show_it(harness: StateHarness) -> None:
    await admit_job(harness.subject)
    figures = MetricsRegistry(MetricSource.SERVICE, "1", {})
    clock = harness.subject.clock
    metrics = ServiceMetrics(figures, harness.gateway_state.read, clock)
    text = (await metrics.render()).decode()
    assert 'gateway_jobs{state="queued"} 1.0' in text
    assert 'gateway_tenant_budget_remaining_usd{tenant="ada",window="day"} 4.999999' in text
    assert "gateway_redis_aof_enabled" in text
