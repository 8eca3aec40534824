"""The book of models follows the catalogue, and an outage is told of once."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import orjson
import pytest

from core.errors import StoreUnavailable
from core.observability.events import OperationalWarning, RedisDisconnected, RedisReconnected
from core.store.model_catalogue import CatalogueSnapshot
from service.models import Known
from tests.fakes.clock import settle

if TYPE_CHECKING:
    from datetime import datetime

    from service.models.registry_cache import ModelShelf
    from tests.fakes.face import Face

DOCUMENT = orjson.dumps({"model_id": "some/model", "display_name": "Some"})
EVERY = timedelta(seconds=5)


async def sync(face: Face) -> None:
    """As a worker would."""
    snapshot = CatalogueSnapshot(face.clock.now(), {"some/model": DOCUMENT})
    await face.stores.catalogue.replace(snapshot)


async def test_a_new_catalogue_is_taken_up(face: Face) -> None:
    shelf = face.resources.shelf
    await shelf.refresh()
    before = shelf.models
    await sync(face)
    await shelf.refresh()

    assert before.synced_at is None
    assert isinstance(shelf.models.lookup("some/model", face.clock.now()), Known)


async def test_an_old_one_is_not_read_again(face: Face) -> None:
    await sync(face)
    shelf = face.resources.shelf
    await shelf.refresh()
    book = shelf.models
    await shelf.refresh()
    assert shelf.models is book


class Shaky:
    """A catalogue that fails as told."""

    def __init__(self) -> None:
        self.error: Exception | None = None

    async def synced_at(self) -> datetime | None:
        if self.error:
            raise self.error
        return None

    async def load(self) -> CatalogueSnapshot:
        return CatalogueSnapshot()


@pytest.fixture
def shaky(face: Face) -> Shaky:
    """In the catalogue's place."""
    catalogue = Shaky()
    face.resources.shelf._catalogue = catalogue
    return catalogue


async def look(face: Face, times: int) -> None:
    """Let time pass for so many looks."""
    for _ in range(times):
        await face.clock.advance(EVERY)


def keeping(shelf: ModelShelf) -> asyncio.Task[None]:
    """The loop, as the process runs it."""
    return asyncio.create_task(shelf.keep_fresh(EVERY))


async def test_an_outage_is_told_of_once_and_its_end_too(face: Face, shaky: Shaky) -> None:
    task = keeping(face.resources.shelf)
    await settle()
    shaky.error = StoreUnavailable()
    await look(face, 3)
    shaky.error = None
    await look(face, 2)
    task.cancel()

    assert len(face.of(RedisDisconnected)) == 1
    assert face.of(RedisReconnected) == [RedisReconnected(3 * EVERY)]


async def test_a_catalogue_that_cannot_be_read_leaves_the_old_book(
    face: Face, shaky: Shaky
) -> None:
    book = face.resources.shelf.models
    shaky.error = ValueError("odd")
    task = keeping(face.resources.shelf)
    await look(face, 2)

    assert not task.done()
    task.cancel()
    assert face.resources.shelf.models is book
    assert {trouble.code for trouble in face.of(OperationalWarning)} == {"catalogue_invalid"}
