"""The catalogue is read when its copy is old; a failure changes nothing."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest

from core.models.changes import ModelChange, ModelChangeKind
from core.observability.events import Event, ModelChanged, OperationalWarning
from core.store.model_catalogue import CatalogueSnapshot
from tests.support.clock import FakeClock
from tests.support.memory_store.stores import memory_stores
from tests.support.records import HOUR, NOW, at, fault
from worker.maintenance.catalogue_sync import RETRY_INTERVAL, CatalogueSync, ListedModels
from worker.ports import CatalogueModel, Unreachable

DOWN = Unreachable(fault())
MODELS = (CatalogueModel("kling/a", b'{"id":"a"}'), CatalogueModel("wan/b", b'{"id":"b"}'))


class StubCatalogue:
    """RunComfy's catalogue, and the copy of it in the store."""

    def __init__(self, copy: CatalogueSnapshot | None = None) -> None:
        self.stored = copy or CatalogueSnapshot()
        self.available: tuple[CatalogueModel, ...] | Unreachable = MODELS
        self.available_categories: bytes | Unreachable = b'["video"]'
        self.reads = 0
        self.is_requested = False
        self.changes: list[ModelChange] = []
        self.claims = 1
        self.events: list[Event] = []
        self.clock = FakeClock()
        self.sync = CatalogueSync(self, self, self.clock, self.events.append, HOUR)

    async def list_models(self) -> tuple[CatalogueModel, ...] | Unreachable:
        self.reads += 1
        return self.available

    async def list_categories(self) -> bytes | Unreachable:
        return self.available_categories

    async def synced_at(self) -> datetime | None:
        return self.stored.synced_at

    async def load(self) -> CatalogueSnapshot:
        return self.stored

    async def append_change(self, change: ModelChange) -> None:
        self.changes.append(change)

    async def list_changes(self, _: int) -> Sequence[ModelChange]:
        return self.changes

    async def model_ids(self) -> frozenset[str]:
        raise AssertionError("only labels need it")

    async def request_sync(self, _: datetime) -> None:
        raise AssertionError("the service asks")

    async def is_sync_requested(self) -> bool:
        return self.is_requested

    async def claim_requested_sync(self, _: timedelta) -> bool:
        claimed, self.claims = self.claims > 0, self.claims - 1
        return claimed

    async def replace(self, snapshot: CatalogueSnapshot) -> None:
        self.stored = snapshot


OLD = CatalogueSnapshot(NOW - HOUR, {"old/c": b"{}"}, b'["old"]')


async def test_a_catalogue_that_was_never_read_is_read() -> None:
    shop = StubCatalogue()
    await shop.sync.run_once()
    models = {"kling/a": b'{"id":"a"}', "wan/b": b'{"id":"b"}'}
    assert shop.stored == CatalogueSnapshot(NOW, models, b'["video"]')


@pytest.mark.parametrize(("age", "reads"), [(0, 0), (3599, 0), (3600, 1), (90_000, 1)])
async def test_it_is_read_again_only_when_it_is_old(age: float, reads: int) -> None:
    shop = StubCatalogue(CatalogueSnapshot(at(-age), {"old/c": b"{}"}))
    await shop.sync.run_once()
    assert shop.reads == reads
    assert (shop.stored.synced_at == NOW) is (reads == 1 or age == 0)


async def test_a_clock_put_back_does_not_keep_an_old_catalogue() -> None:
    shop = StubCatalogue(CatalogueSnapshot(at(90_000), {"old/c": b"{}"}))
    await shop.sync.run_once()
    assert shop.stored.synced_at == NOW


async def test_a_catalogue_that_cannot_be_read_leaves_the_old_one_with_its_age() -> None:
    shop = StubCatalogue(OLD)
    shop.available = DOWN
    await shop.sync.run_once()
    assert shop.stored is OLD
    assert shop.events == [
        OperationalWarning(code="catalogue_fetch_failed", detail="RunComfy says server_error")
    ]


async def test_categories_that_cannot_be_read_leave_the_old_ones() -> None:
    shop = StubCatalogue(OLD)
    shop.available_categories = DOWN
    await shop.sync.run_once()
    assert set(shop.stored.models) == {"kling/a", "wan/b"}
    assert (shop.stored.categories, shop.stored.synced_at) == (b'["old"]', NOW)


async def test_an_empty_catalogue_does_not_hide_every_model() -> None:
    shop = StubCatalogue(CatalogueSnapshot(at(0), {"kling/a": b"{}"}))
    shop.available = ()
    await shop.clock.advance(2 * HOUR)
    await shop.sync.run_once()
    assert shop.stored.models == {"kling/a": b"{}"}
    assert [event.code for event in shop.events if isinstance(event, OperationalWarning)] == [
        "catalogue_fetch_failed"
    ]


async def test_it_is_read_on_request_by_the_worker_that_claims_it() -> None:
    shop = StubCatalogue(CatalogueSnapshot(at(-5), {"old/c": b"{}"}))
    shop.is_requested = True
    await shop.sync.run_once()
    assert (shop.reads, shop.stored.synced_at) == (1, NOW)
    await shop.clock.advance(RETRY_INTERVAL)
    await shop.sync.run_once()
    assert shop.reads == 1


async def test_a_failed_read_is_not_repeated_at_every_look() -> None:
    shop = StubCatalogue(OLD)
    shop.available = DOWN
    for _ in range(3):
        await shop.sync.run_once()
    assert shop.reads == 1
    await shop.clock.advance(RETRY_INTERVAL)
    await shop.sync.run_once()
    assert shop.reads == 2


async def test_the_models_of_each_new_catalogue_are_confirmed_once() -> None:
    clock = FakeClock()
    store, confirmed = memory_stores(clock).catalogue, list[frozenset[str]]()
    listed = ListedModels(store, lambda ids: confirmed.append(frozenset(ids)))
    await listed.refresh()
    assert confirmed == []
    await store.replace(CatalogueSnapshot(NOW, {"a/b": b"{}", "c d": b"{}"}))
    for _ in range(3):
        await listed.refresh()
    await store.replace(CatalogueSnapshot(NOW + HOUR, {"e": b"{}"}))
    await listed.refresh()
    assert confirmed == [{"a/b", "c d"}, {"e"}]


async def test_what_changed_since_the_last_sync_is_recorded_and_emitted() -> None:
    old = {"kling/a": b'{"base_price_usd":1,"price_unit":"second"}', "old/c": b"{}", "odd": b"[]"}
    shop = StubCatalogue(CatalogueSnapshot(NOW - HOUR, old))
    shop.available = (
        CatalogueModel("kling/a", b'{"base_price_usd":2,"price_unit":"second"}'),
        CatalogueModel("odd", b"[]"),
    )
    await shop.sync.run_once()
    assert shop.changes == [
        ModelChange(NOW, "old/c", ModelChangeKind.REMOVED),
        ModelChange(
            NOW, "kling/a", ModelChangeKind.PRICE, "", "1 USD per second -> 2 USD per second"
        ),
    ]
    assert [event.kind for event in shop.events if isinstance(event, ModelChanged)] == [
        ModelChangeKind.REMOVED,
        ModelChangeKind.PRICE,
    ]


async def test_the_first_catalogue_is_no_change() -> None:
    shop = StubCatalogue()
    await shop.sync.run_once()
    assert shop.changes == []
