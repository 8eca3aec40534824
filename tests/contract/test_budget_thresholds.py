"""Events of thresholds: once for each window and threshold, whatever crossed it."""

import asyncio
from dataclasses import dataclass, field, replace
from datetime import timedelta

import orjson

from core.clock import MILLISECOND
from core.jobs.job import BillingStatus, Job, JobState
from core.money import MicroUsd
from core.observability.events import BudgetThresholdReached, Event
from core.tenants.api_keys import ApiKey
from core.tenants.limits import Limits
from core.tenants.tenant import Tenant
from core.transactions.job_update import Change, WriteResult
from core.webhooks.config import WebhookConfig
from core.webhooks.delivery import Delivery, WebhookEventType
from tests.support.backends import StoreBackend
from tests.support.store_steps import LEASE, WEBHOOK, admission_of, new_job
from worker.maintenance.budget_thresholds import BudgetThresholdNotifier, ThresholdPolicy

USD = 1_000_000
BUDGET = Limits(usd_per_day=MicroUsd(10 * USD), usd_per_month=MicroUsd(1_000 * USD))
DAY = timedelta(days=1)


@dataclass(slots=True)
class Budgets:
    """A tenant with budgets and one endpoint, and the worker that compares them with its usage."""

    backend: StoreBackend
    events: list[Event] = field(default_factory=list)

    async def create(self, limits: Limits = BUDGET) -> None:
        now = self.backend.clock.now()
        config = WebhookConfig("ape").with_default_url(WEBHOOK, now)
        key = ApiKey("digest-ape", "ape", now)
        assert await self.backend.tenants.create(Tenant("ape", now, limits=limits), key, config)

    async def set_limits(self, limits: Limits) -> None:
        before = await self.backend.tenants.load("ape")
        assert before is not None
        after = replace(before, limits=limits, version=before.version + 1)
        assert await self.backend.tenants.change(before, after)

    async def reserve(self, usd: float, name: str = "req_1") -> Job:
        now = self.backend.clock.now()
        job = replace(new_job(now, name, "ape"), estimate=MicroUsd(int(usd * USD)))
        await self.backend.jobs.admit(admission_of(job))
        return job

    async def settle(self, job: Job, usd: float) -> None:
        record = await self.backend.jobs.load(job.id)
        assert record is not None
        now, cost = self.backend.clock.now(), MicroUsd(int(usd * USD))
        after = record.job.evolve(
            now,
            state=JobState.SUCCEEDED,
            billed=BillingStatus.YES,
            cost=cost,
            finished_at=now,
            next_run_at=None,
        )
        assert await self.backend.jobs.store(Change(record.job, after)) is WriteResult.STORED

    async def look(self) -> list[tuple[str, int]]:
        """Let a worker look, after the last one's lock; return the new events."""
        self.backend.clock.move(2 * MILLISECOND)
        await asyncio.sleep(0.002)  # Redis ends the lock by its own clock
        return await self.look_locked(MILLISECOND)

    async def look_locked(self, interval: timedelta) -> list[tuple[str, int]]:
        self.events.clear()
        policy = ThresholdPolicy((50, 80, 100), interval)
        notifier = BudgetThresholdNotifier(
            "w", self.backend, policy, self.backend.clock, self.events.append
        )
        await notifier.run_once()
        found = [one for one in self.events if isinstance(one, BudgetThresholdReached)]
        return [(one.window, one.threshold) for one in found]

    async def deliveries(self) -> list[Delivery]:
        claimed = await self.backend.deliveries.claim_due(LEASE, 10)
        return [one.delivery for one in claimed]


async def test_an_event_goes_to_the_endpoint_once(backend: StoreBackend) -> None:
    budgets = Budgets(backend)
    await budgets.create()
    await budgets.reserve(4.9)
    assert await budgets.look() == []
    await budgets.reserve(0.1, "req_2")
    assert await budgets.look() == [("day", 50)]
    assert await budgets.look() == []
    (delivery,) = await budgets.deliveries()
    assert (delivery.event, delivery.tenant) == (WebhookEventType.BUDGET_THRESHOLD, "ape")
    data = orjson.loads(delivery.data or "")
    assert (data["window"], data["threshold"], data["used_usd"]) == ("day", 50, 5)
    assert (data["budget_usd"], data["resets_at"] is not None) == (10, True)


async def test_a_settlement_above_its_estimate_crosses_too(backend: StoreBackend) -> None:
    budgets = Budgets(backend)
    await budgets.create()
    job = await budgets.reserve(1)
    assert await budgets.look() == []
    await budgets.settle(job, 12)
    assert await budgets.look() == [("day", 50), ("day", 80), ("day", 100)]
    assert len({one.id for one in await budgets.deliveries()}) == 3


async def test_a_lowered_limit_crosses_and_a_raised_one_repeats_nothing(
    backend: StoreBackend,
) -> None:
    budgets = Budgets(backend)
    await budgets.create()
    await budgets.reserve(4)
    await budgets.set_limits(replace(BUDGET, usd_per_day=MicroUsd(5 * USD)))
    assert await budgets.look() == [("day", 50), ("day", 80)]
    await budgets.set_limits(BUDGET)
    assert await budgets.look() == []
    await budgets.reserve(4.5, "req_2")
    assert await budgets.look() == []


async def test_the_next_window_has_its_own_events(backend: StoreBackend) -> None:
    budgets = Budgets(backend)
    await budgets.create()
    await budgets.reserve(5)
    assert await budgets.look() == [("day", 50)]
    backend.clock.move(DAY)
    assert await budgets.look() == []
    await budgets.reserve(5, "req_2")
    assert await budgets.look() == [("day", 50)]


async def test_one_worker_looks_at_a_time(backend: StoreBackend) -> None:
    budgets = Budgets(backend)
    await budgets.create()
    assert await budgets.look_locked(DAY) == []
    await budgets.reserve(5)
    assert await budgets.look() == []


async def test_without_a_budget_there_are_no_thresholds(backend: StoreBackend) -> None:
    budgets = Budgets(backend)
    await budgets.create(Limits(usd_per_day=MicroUsd(0)))
    await backend.jobs.admit(admission_of(new_job(backend.clock.now(), "req_1", "ada")))
    assert await budgets.look() == []
