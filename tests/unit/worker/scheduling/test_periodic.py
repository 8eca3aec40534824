import asyncio
from collections import deque
from contextlib import suppress
from datetime import datetime

from core.errors import StoreUnavailable
from core.observability.events import Event, OperationalWarning
from tests.support.clock import FakeClock
from tests.support.records import SECOND, at
from worker.scheduling.periodic import PeriodicTask, run_periodically


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
