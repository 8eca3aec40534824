"""The process's cache of run times: which models it reads, and its behavior in an outage."""

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import timedelta

from core.errors import StoreUnavailable
from core.jobs.refusal_costs import RefusalCosts
from core.jobs.run_times import RunHistory
from core.observability.events import Event, OperationalWarning
from core.store.run_times import RunTimeCache
from tests.support.clock import FakeClock

EVERY = timedelta(seconds=5)


class CountingRunTimes:
    """Returns one run for each model and records the requested models."""

    def __init__(self) -> None:
        self.now: dict[str, int] = {}
        self.loaded: list[list[str]] = []
        self.error: Exception | None = None

    async def load_counts(self) -> Mapping[str, int]:
        if self.error is not None:
            raise self.error
        return dict(self.now)

    async def load_refusal_costs(self) -> Mapping[str, RefusalCosts]:
        return {}

    async def load(self, models: Iterable[str]) -> Mapping[str, RunHistory]:
        names = list(models)
        self.loaded.append(names)
        return {
            name: RunHistory.from_newest_first([timedelta(seconds=self.now[name])])
            for name in names
        }


async def test_only_models_with_news_are_read_again() -> None:
    store = CountingRunTimes()
    shelf = RunTimeCache(store, FakeClock(), lambda _: None)
    store.now = {"a": 1, "b": 1}
    await shelf.refresh()
    store.now = {"a": 1, "b": 2}
    await shelf.refresh()

    assert store.loaded == [["a", "b"], ["b"]]
    assert shelf.get("b").times == (timedelta(seconds=2),)
    assert shelf.get("unknown").times == ()


async def test_an_outage_keeps_what_is_known_and_a_defect_is_told() -> None:
    store, clock = CountingRunTimes(), FakeClock()
    events: list[Event] = []
    shelf = RunTimeCache(store, clock, events.append)
    store.now = {"a": 1}
    keeping = asyncio.create_task(shelf.refresh_forever(EVERY))
    await clock.advance(EVERY)
    store.error = StoreUnavailable()
    await clock.advance(EVERY)
    assert events == []
    store.error = ValueError("foreign data")
    await clock.advance(EVERY)
    store.error = None
    store.now = {"a": 7}
    await clock.advance(EVERY)

    assert shelf.get("a").times == (timedelta(seconds=7),)
    assert [event.code for event in events if isinstance(event, OperationalWarning)] == [
        "run_times_invalid"
    ]
    keeping.cancel()
    with suppress(asyncio.CancelledError):
        await keeping
