"""One reading of Redis tells how everything stands, at the same cost for any number of jobs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import pytest

from core.billing.balance import Wallet
from core.clock import to_ms
from core.jobs.job import Fact, JobState
from core.money import MicroUsd
from core.observability.event_metrics import Labels
from core.store import keys
from core.store.circuit_breaker import BreakerStore
from core.store.client import Wire, connection_source
from core.store.connection import Watch
from core.store.gateway_state import STUCK_AFTER, OverviewParts, OverviewStore
from core.store.model_catalogue import CatalogueStore
from core.store.operations import ControlStore
from core.store.scripts import Scripts, read_scripts
from core.store.webhook_endpoints import SetupChange, WebhookStore
from core.tenants.api_keys import KeyRecord
from core.tenants.limits import Limits, Window, spans_at
from core.tenants.tenant import Tenant
from core.webhooks.circuit_breaker import Channel
from core.webhooks.delivery import ChannelMove
from core.webhooks.endpoint import Disabled, Endpoint
from service.metrics.metrics import ServiceMetrics, service_figures
from tests.contract.orders import SECOND, admitted, bare, moved
from tests.contract.subjects import Subject, redis_policy, redis_subject
from tests.fakes.clock import FakeClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from core.observability.events import Event

F: Final = Fact
BUDGET: Final = Limits(running=4, usd_per_day=MicroUsd(5_000_000))


@dataclass(frozen=True, slots=True)
class Gateway:
    """The stores over a real Redis, and what reads them all."""

    subject: Subject
    overview: OverviewStore
    controls: ControlStore
    setups: WebhookStore
    wire: Wire
    told: list[Event]


@pytest.fixture
async def gateway(redis_flushed: str) -> AsyncIterator[Gateway]:
    """Two tenants, one with a budget; nothing else."""
    clock = FakeClock()
    told: list[Event] = []
    source = connection_source(redis_policy(redis_flushed), "test")
    async with Wire(source, Watch(clock, told.append)) as wire:
        scripts = Scripts(wire, read_scripts())
        controls = ControlStore(wire, scripts, clock)
        parts = OverviewParts(
            scripts,
            controls,
            BreakerStore(wire, scripts, clock),
            CatalogueStore(wire, scripts),
            WebhookStore(wire, scripts, clock),
        )
        subject = redis_subject(clock, wire)
        for name, limits in (("ada", BUDGET), ("bob", Limits())):
            tenant = Tenant(name, clock.now(), limits=limits)
            key = KeyRecord(f"digest-{name}", name, clock.now())
            assert await subject.tenants.create(tenant, key)
        overview = OverviewStore(wire, parts, clock, 10)
        yield Gateway(subject, overview, controls, parts.webhooks, wire, told)


async def test_an_empty_gateway(gateway: Gateway) -> None:
    overview = await gateway.overview.read()
    assert overview.jobs.by_state == dict.fromkeys(overview.jobs.by_state, 0)
    assert (overview.jobs.oldest_unsent_at, overview.deliveries.endpoints) == (None, 0)
    assert [tenant.name for tenant in overview.tenants] == ["ada", "bob"]
    assert overview.store.memory
    assert overview.store.keys


async def test_jobs_by_state_and_the_oldest_that_runcomfy_has_not_got(gateway: Gateway) -> None:
    subject = gateway.subject
    born = subject.clock.now()
    first = await admitted(subject, "req_1")
    await subject.clock.advance(10 * SECOND)
    await admitted(subject, "req_2")
    again = await moved(subject, first, F.CLAIMED, F.NOT_SENT)
    jobs = (await gateway.overview.read()).jobs
    assert jobs.by_state[JobState.QUEUED] == 2
    assert jobs.oldest_unsent_at == born  # a submit that did not leave makes it no younger

    running = await moved(subject, again, F.CLAIMED, F.ACCEPTED)
    jobs = (await gateway.overview.read()).jobs
    assert jobs.by_state[JobState.RUNNING] == 1
    assert jobs.oldest_unsent_at == born + 10 * SECOND
    await moved(subject, running, F.FINISHED, F.COLLECTED)
    assert sum((await gateway.overview.read()).jobs.by_state.values()) == 1


async def test_doubts_and_what_nobody_looks_at(gateway: Gateway) -> None:
    subject = gateway.subject
    since = subject.clock.now()
    await moved(subject, await admitted(subject), F.CLAIMED, F.NO_ANSWER)
    jobs = (await gateway.overview.read()).jobs
    assert (jobs.oldest_doubt_at, jobs.oldest_unsent_at, jobs.stuck) == (since, None, 0)
    await subject.clock.advance(STUCK_AFTER + 5 * SECOND)
    assert (await gateway.overview.read()).jobs.stuck == 1


async def test_endpoints_that_get_nothing(gateway: Gateway) -> None:
    setups, now = gateway.setups, gateway.subject.clock.now()
    before = await setups.load("ada")
    assert before is not None
    for number, why in enumerate((None, Disabled.GONE, Disabled.BY_OWNER)):
        url = f"https://{number}.example.com/"
        after = before.adding(Endpoint(f"end_{number}", url, now, disabled=why))
        assert await setups.change(SetupChange(before, after))
        before = after
    ada, bob = (await gateway.overview.read()).tenants
    assert (ada.disabled, bob.disabled) == ((Disabled.GONE, Disabled.BY_OWNER), ())


async def test_tenants_slots_queue_and_money(gateway: Gateway) -> None:
    for number in range(6):
        await admitted(gateway.subject, f"req_{number}")
    today, _ = spans_at(gateway.subject.clock.now())
    await gateway.wire.execute("HINCRBY", keys.use("ada", today.name), "saved", 700_000)
    ada, bob = (await gateway.overview.read()).tenants
    assert (ada.running, ada.waiting, ada.slots) == (4, 2, 4)
    assert (bob.running, bob.waiting, bob.slots) == (0, 0, None)
    day, month = ada.windows
    assert (day.window, day.jobs, day.budget) == (Window.DAY, 6, MicroUsd(5_000_000))
    assert (day.saved, month.saved) == (700_000, 0)
    assert (month.window, month.jobs, month.budget) == (Window.MONTH, 6, None)


async def test_callbacks_of_a_held_back_endpoint_are_not_due(gateway: Gateway) -> None:
    subject, now = gateway.subject, gateway.subject.clock.now()
    for name, channel in (("msg_1", "a"), ("msg_2", "a"), ("msg_3", "b")):
        assert await subject.deliveries.post(None, bare(subject, name, channel=channel))
    later = bare(subject, "msg_4", channel="b", due_at=now + 60 * SECOND)
    assert await subject.deliveries.post(None, later)
    shut = Channel(version=1, until=now + 30 * SECOND)
    assert await subject.deliveries.move_channel(ChannelMove("a", Channel(), shut))
    await subject.clock.advance(7 * SECOND)
    backlog = (await gateway.overview.read()).deliveries
    assert (backlog.pending, backlog.due, backlog.endpoints, backlog.held_back) == (4, 1, 2, 1)
    assert backlog.oldest_due_at == now
    assert len(await subject.deliveries.claim_due(30 * SECOND, 10)) == 1
    backlog = (await gateway.overview.read()).deliveries
    assert (backlog.due, backlog.busy, backlog.oldest_due_at) == (0, 1, None)


async def test_the_wallet_the_workers_and_the_pauses(gateway: Gateway) -> None:
    now = gateway.subject.clock.now()
    await gateway.controls.set_wallet(Wallet(MicroUsd(9_000_000), now))
    await gateway.controls.set_floor(MicroUsd(1_000_000))
    await gateway.subject.presence.sign("w1")
    await gateway.wire.execute("ZADD", keys.WORKERS, to_ms(now - timedelta(minutes=2)), "w2")
    known = (await gateway.overview.read()).surroundings
    assert (known.wallet.balance, known.wallet.floor) == (9_000_000, 1_000_000)
    assert known.workers == 1


async def test_a_reading_costs_the_same_however_many_jobs_there_are(gateway: Gateway) -> None:
    async def cost() -> tuple[int, int]:
        before = gateway.wire.commands, gateway.wire.round_trips
        await gateway.overview.read()
        return gateway.wire.commands - before[0], gateway.wire.round_trips - before[1]

    await gateway.overview.read()  # the script is sent once
    few = await cost()
    for number in range(300):
        await admitted(gateway.subject, f"req_{number}", "bob")
        await gateway.subject.deliveries.post(None, bare(gateway.subject, f"msg_{number}"))
    assert await cost() == few
    assert few[0] < 40
    assert few[1] <= 4


async def test_round_trips_are_told(gateway: Gateway) -> None:
    trips = gateway.wire.round_trips
    gateway.told.clear()
    await gateway.wire.execute("PING")
    assert (gateway.wire.round_trips - trips, len(gateway.told)) == (1, 1)


async def test_the_figures_show_it(gateway: Gateway) -> None:
    await admitted(gateway.subject)
    figures = service_figures("1", Labels({}))
    clock = gateway.subject.clock
    metrics = ServiceMetrics(figures, "/submit", gateway.overview.read, clock)
    text = (await metrics.render()).decode()
    assert 'gateway_jobs{state="queued"} 1.0' in text
    assert 'gateway_tenant_budget_remaining_usd{tenant="ada",window="day"} 5.0' in text
    assert "gateway_redis_aof_enabled" in text
