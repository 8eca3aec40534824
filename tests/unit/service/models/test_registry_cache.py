"""The model registry follows the catalogue, and an outage is reported once."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta

import orjson
import pytest

from core.errors import StoreUnavailable
from core.models.changes import ModelChange
from core.observability.events import OperationalWarning, RedisDisconnected, RedisReconnected
from core.store.model_catalogue import CatalogueSnapshot
from service.models.registry_cache import ModelRegistryCache
from tests.support.app import AppHarness
from tests.support.clock import run_ready_tasks

DOCUMENT = orjson.dumps({"model_id": "some/model", "display_name": "Some"})
EVERY = timedelta(seconds=5)


async def sync(app: AppHarness) -> None:
    """Store a catalogue as a worker does."""
    snapshot = CatalogueSnapshot(app.clock.now(), {"some/model": DOCUMENT})
    await app.stores.catalogue.replace(snapshot)


async def test_a_new_catalogue_is_taken_up(app: AppHarness) -> None:
    shelf = app.resources.model_cache
    await shelf.refresh()
    before = shelf.registry
    await sync(app)
    await shelf.refresh()

    assert before.synced_at is None
    assert shelf.registry.lookup("some/model", app.clock.now()) is not None


async def test_an_old_one_is_not_read_again(app: AppHarness) -> None:
    await sync(app)
    shelf = app.resources.model_cache
    await shelf.refresh()
    book = shelf.registry
    await shelf.refresh()
    assert shelf.registry is book


class UnreliableCatalogue:
    """A catalogue that fails on request."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.requests: list[datetime] = []
        self.changes: list[ModelChange] = []

    async def synced_at(self) -> datetime | None:
        if self.error:
            raise self.error
        return None

    async def append_change(self, change: ModelChange) -> None:
        self.changes.append(change)

    async def list_changes(self, _: int) -> Sequence[ModelChange]:
        return self.changes

    async def model_ids(self) -> frozenset[str]:
        raise AssertionError("only labels need it")

    async def request_sync(self, now: datetime) -> None:
        self.requests.append(now)

    async def is_sync_requested(self) -> bool:
        raise AssertionError("the worker looks")

    async def claim_requested_sync(self, _: timedelta) -> bool:
        raise AssertionError("the worker claims")

    async def load(self) -> CatalogueSnapshot:
        return CatalogueSnapshot()

    async def replace(self, _: CatalogueSnapshot) -> None:
        raise AssertionError("the service only reads the catalogue")


@pytest.fixture
def unreliable_catalogue(app: AppHarness) -> UnreliableCatalogue:
    """Replace the app's catalogue."""
    catalogue = UnreliableCatalogue()
    app.resources.model_cache._catalogue = catalogue
    return catalogue


async def wait_for_refreshes(app: AppHarness, times: int) -> None:
    """Advance the clock by `count` refresh intervals."""
    for _ in range(times):
        await app.clock.advance(EVERY)


def running_refresh(shelf: ModelRegistryCache) -> asyncio.Task[None]:
    """Run the refresh loop as the process does."""
    return asyncio.create_task(shelf.refresh_forever(EVERY))


async def test_an_outage_is_told_of_once_and_its_end_too(
    app: AppHarness, unreliable_catalogue: UnreliableCatalogue
) -> None:
    task = running_refresh(app.resources.model_cache)
    await run_ready_tasks()
    unreliable_catalogue.error = StoreUnavailable()
    await wait_for_refreshes(app, 3)
    unreliable_catalogue.error = None
    await wait_for_refreshes(app, 2)
    task.cancel()

    assert len(app.events_of(RedisDisconnected)) == 1
    assert app.events_of(RedisReconnected) == [RedisReconnected(3 * EVERY)]


async def test_a_catalogue_that_cannot_be_read_leaves_the_old_book(
    app: AppHarness, unreliable_catalogue: UnreliableCatalogue
) -> None:
    book = app.resources.model_cache.registry
    unreliable_catalogue.error = ValueError("odd")
    task = running_refresh(app.resources.model_cache)
    await wait_for_refreshes(app, 2)

    assert not task.done()
    task.cancel()
    assert app.resources.model_cache.registry is book
    assert {trouble.code for trouble in app.events_of(OperationalWarning)} == {"catalogue_invalid"}
