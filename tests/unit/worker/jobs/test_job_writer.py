"""A tenant's endpoints are read once for many changes, and every change uses current ones."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final

import pytest

from core.errors import StoreUnavailable
from core.jobs.job import JobState
from core.store.interfaces import WebhookConfigRepository
from core.transactions.job_update import Change, WriteResult
from core.webhooks.config import VersionedConfig, WebhookConfig
from core.webhooks.endpoint import Endpoint
from tests.support.clock import FakeClock
from tests.support.partial_stores import partial_stores
from tests.support.records import NOW, job
from tests.support.worker import StubJobStore
from worker.jobs.job_writer import JobWriter, WebhookConfigCache

FIRST: Final = Endpoint("ep_1", "https://one.example/", NOW)
SECOND: Final = Endpoint("ep_2", "https://two.example/", NOW)
RUNNING: Final = job(JobState.RUNNING)
LATER: Final = Change(RUNNING, RUNNING.evolve(NOW, next_run_at=NOW))
FAILED: Final = RUNNING.evolve(NOW, state=JobState.FAILED, next_run_at=None, finished_at=NOW)
ENDING: Final = Change(RUNNING, FAILED)


@dataclass
class VersionedJobStore(StubJobStore):
    """A job store that checks the webhook config's version; `turns` change that config."""

    endpoints: tuple[Endpoint, ...] = (FIRST,)
    pending_changes: Iterator[tuple[Endpoint, ...]] = field(default_factory=lambda: iter(()))
    """What the endpoints become, each time just before a change is stored."""
    reads: list[str] = field(default_factory=list)

    async def load_versioned(self, tenant: str) -> VersionedConfig:
        if self.unavailable:
            raise StoreUnavailable
        self.reads.append(tenant)
        return VersionedConfig(WebhookConfig(tenant, endpoints=self.endpoints), self._mark())

    async def store(self, change: Change) -> WriteResult:
        self.endpoints = next(self.pending_changes, self.endpoints)
        if change.config_digest not in {None, self._mark()}:
            return WriteResult.WEBHOOK_CONFIG_CHANGED
        return await super().store(change)

    def _mark(self) -> str:
        return " ".join(end.id for end in self.endpoints)


def job_writer(store: VersionedJobStore) -> JobWriter:
    store.add(RUNNING)
    stores = partial_stores(jobs=store, webhook_configs=store)
    return JobWriter(stores, FakeClock(), lambda _: None)


def configs_of(store: VersionedJobStore) -> WebhookConfigRepository:
    return partial_stores(webhook_configs=store).webhook_configs


def notified_endpoints(store: VersionedJobStore) -> list[str | None]:
    return [delivery.endpoint_id for delivery in store.changes[-1].deliveries]


async def test_endpoints_are_read_once_for_many_changes() -> None:
    house = VersionedJobStore()
    writer = job_writer(house)
    for number in range(3):
        before = house.add(replace(RUNNING, id=f"req_{number}"))
        assert (
            await writer.write(Change(before, replace(FAILED, id=before.id))) is WriteResult.STORED
        )
        assert notified_endpoints(house) == ["ep_1"]
    assert house.reads == [RUNNING.tenant]


async def test_a_change_that_nobody_is_told_of_reads_none() -> None:
    house = VersionedJobStore()
    assert await job_writer(house).write(LATER) is WriteResult.STORED
    assert house.reads == []
    assert house.changes[-1].config_digest is None


async def test_an_endpoint_that_comes_between_look_and_write_is_told() -> None:
    house = VersionedJobStore(pending_changes=iter([(FIRST,), (FIRST, SECOND)]))
    writer = job_writer(house)
    other = house.add(replace(RUNNING, id="req_2"))
    assert await writer.write(Change(other, replace(FAILED, id="req_2"))) is WriteResult.STORED
    assert await writer.write(ENDING) is WriteResult.STORED
    assert notified_endpoints(house) == ["ep_1", "ep_2"]
    assert len(house.reads) == 2


async def test_a_tenant_without_endpoints_is_looked_at_too() -> None:
    house = VersionedJobStore(endpoints=(), pending_changes=iter([(FIRST,)]))
    assert await job_writer(house).write(ENDING) is WriteResult.STORED
    assert notified_endpoints(house) == ["ep_1"]


async def test_endpoints_that_never_rest_leave_the_job_to_its_next_look() -> None:
    restless = ((FIRST,) if number % 2 else (SECOND,) for number in range(100))
    house = VersionedJobStore(pending_changes=restless)
    assert await job_writer(house).write(ENDING) is WriteResult.WEBHOOK_CONFIG_CHANGED
    assert house.changes == []
    assert 2 <= len(house.reads) <= 10


async def test_a_store_that_is_away_leaves_nothing_on_the_shelf() -> None:
    house = VersionedJobStore(unavailable=True)
    writer = job_writer(house)
    with pytest.raises(StoreUnavailable):
        await writer.write(ENDING)
    house.unavailable = False
    assert await writer.write(ENDING) is WriteResult.STORED


async def test_the_shelf_is_bounded_and_drops_the_oldest() -> None:
    house = VersionedJobStore()
    shelf = WebhookConfigCache(configs_of(house), max_size=2)
    for name in ("a", "b", "a", "c", "b", "a"):
        assert (await shelf.get(name)).config.tenant == name
    assert house.reads == ["a", "b", "c", "a"]


async def test_what_was_read_since_is_not_forgotten() -> None:
    house = VersionedJobStore()
    shelf = WebhookConfigCache(configs_of(house))
    old = await shelf.get("a")
    shelf.invalidate(old)
    new = await shelf.get("a")
    shelf.invalidate(old)
    assert await shelf.get("a") is new
    assert house.reads == ["a", "a"]
