"""The catalogue is read when its copy is old; a failure changes nothing."""

from datetime import datetime

import pytest

from core.observability.events import Event, OperationalWarning
from core.store.model_catalogue import CatalogueSnapshot
from tests.support.clock import FakeClock
from tests.support.records import HOUR, NOW, at, fault
from worker.maintenance.catalogue_sync import CatalogueSync
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
