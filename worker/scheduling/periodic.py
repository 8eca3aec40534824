"""Runs a task periodically."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from core.clock import Clock
from core.errors import StoreUnavailable
from core.observability.events import Emit, OperationalWarning


def is_recent(at: datetime, now: datetime, span: timedelta) -> bool:
    """Return whether `at` is within `span` of now.

    A time far in the future does not count: the clock that wrote it was wrong.
    """
    return abs(now - at) < span


HEARTBEAT_INTERVAL: Final = timedelta(seconds=5)
CATALOGUE_CHECK_INTERVAL: Final = timedelta(seconds=2)
"""How soon a requested sync begins."""
RUN_TIMES_INTERVAL: Final = timedelta(seconds=5)
STORE_CHECK_INTERVAL: Final = timedelta(seconds=1)
JOURNAL_CHECK_INTERVAL: Final = timedelta(seconds=2)
JOURNAL_SWEEP_INTERVAL: Final = timedelta(hours=1)
DISPATCH_INTERVAL: Final = timedelta(seconds=3)
PRUNE_INTERVAL: Final = timedelta(seconds=20)
"""How often each worker tries to prune; one of them does, once a minute (`PrunePolicy`)."""


@dataclass(frozen=True, slots=True)
class PeriodicTask:
    """Something to run every `interval`; a failure emits the warning `<name>_failed`."""

    name: str
    interval: timedelta
    run: Callable[[], Awaitable[None]]


async def run_periodically(task: PeriodicTask, clock: Clock, emit: Emit) -> None:
    """Run a task forever. While Redis is unavailable its runs are skipped."""
    while True:
        try:
            await task.run()
        except StoreUnavailable:
            pass
        except Exception as error:  # noqa: BLE001 - a failed task must not end the worker
            emit(OperationalWarning(code=f"{task.name}_failed", detail=str(error), error=error))
        await clock.sleep(task.interval)
