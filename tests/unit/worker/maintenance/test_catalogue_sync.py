"""Chores: the catalogue is read when it is old, a failure changes nothing, weaknesses are told."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from core.errors import StoreUnavailable
from core.observability.events import OperationalWarning
from core.store.model_catalogue import CatalogueSnapshot
from core.store.worker_heartbeats import Durability
from tests.support.clock import FakeClock
from tests.support.records import HOUR, NOW, SECOND, at, fault
from worker.maintenance.catalogue_sync import CatalogueSync
from worker.maintenance.durability_check import durability_issues, warn_if_not_durable
from worker.ports import CatalogueModel, Unreachable
from worker.scheduling.periodic import PeriodicTask, run_periodically

if TYPE_CHECKING:
    from datetime import datetime

    from core.observability.events import Event

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


# What Redis says -> the settings that are complained of.
STORES: dict[str, tuple[Durability, list[str]]] = {
    "safe": (Durability(True, "always", "noeviction"), []),  # noqa: FBT003 - a field
    "no AOF": (Durability(False, "always", "noeviction"), ["appendonly"]),  # noqa: FBT003 - a field
    "no AOF, so no more of it": (Durability(False, "no", None), ["appendonly"]),  # noqa: FBT003 - a field
    "each second": (Durability(True, "everysec", "noeviction"), ["appendfsync"]),  # noqa: FBT003 - a field
    "when it likes": (Durability(True, "no", "noeviction"), ["appendfsync"]),  # noqa: FBT003 - a field
    "evicts": (Durability(True, "always", "allkeys-lru"), ["maxmemory-policy"]),  # noqa: FBT003 - a field
    "all": (Durability(False, None, "volatile-ttl"), ["appendonly", "maxmemory-policy"]),  # noqa: FBT003 - a field
    "does not tell": (Durability(None, None, None), []),
    "tells half": (Durability(None, "everysec", None), ["appendfsync"]),
}


@pytest.mark.parametrize(("durability", "named"), STORES.values(), ids=STORES)
def test_what_the_promise_needs_and_this_store_lacks(
    durability: Durability, named: list[str]
) -> None:
    assert [weakness.split()[0] for weakness in durability_issues(durability)] == named


async def test_each_weakness_is_told() -> None:
    class Weak:
        async def load_durability(self) -> Durability:
            return Durability(aof=False, appendfsync=None, maxmemory_policy="allkeys-lru")

    events: list[Event] = []
    await warn_if_not_durable(Weak(), events.append)  # type: ignore[arg-type]  # a twin
    assert [event.code for event in events if isinstance(event, OperationalWarning)] == [
        "redis_not_durable"
    ] * 2


async def test_a_chore_goes_on_whatever_one_run_met() -> None:
    clock = FakeClock()
    events: list[Event] = []
    runs: list[datetime] = []
    mishaps: deque[Exception | None] = deque([None, StoreUnavailable(), KeyError("x"), None])

    async def do() -> None:
        runs.append(clock.now())
        if mishaps and (mishap := mishaps.popleft()) is not None:
            raise mishap

    keeping = asyncio.create_task(
        run_periodically(PeriodicTask("sweep", 5 * SECOND, do), clock, events.append)
    )
    await clock.advance(22 * SECOND)
    keeping.cancel()
    with suppress(asyncio.CancelledError):
        await keeping
    assert runs == [at(0), at(5), at(10), at(15), at(20)]
    (event,) = events
    assert isinstance(event, OperationalWarning)
    assert (event.code, type(event.error)) == ("sweep_failed", KeyError)


async def test_an_empty_catalogue_does_not_hide_every_model() -> None:
    shop = StubCatalogue(CatalogueSnapshot(at(0), {"kling/a": b"{}"}))
    shop.available = ()
    await shop.clock.advance(2 * HOUR)
    await shop.sync.run_once()
    assert shop.stored.models == {"kling/a": b"{}"}
    assert [event.code for event in shop.events if isinstance(event, OperationalWarning)] == [
        "catalogue_fetch_failed"
    ]
