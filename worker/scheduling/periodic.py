"""Runs a task periodically."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from core.clock import Clock
from core.errors import StoreUnavailable
from core.observability.events import Emit, OperationalWarning


def is_recent(at: datetime, now: datetime, span: timedelta) -> bool:
    """Whether `at` is nearer than `span`. One far ahead is of a clock that was put back since."""
    return abs(now - at) < span


HEARTBEAT_INTERVAL: Final = timedelta(seconds=5)


SYNC_CHECK_INTERVAL: Final = timedelta(seconds=15)


RUN_TIMES_INTERVAL: Final = timedelta(seconds=5)


DISPATCH_INTERVAL: Final = timedelta(seconds=3)


PRUNE_INTERVAL: Final = timedelta(seconds=20)
"""Whose turn it is has it for a minute."""


@dataclass(frozen=True, slots=True)
class PeriodicTask:
    """Something to be done every so often."""

    name: str
    interval: timedelta
    run: Callable[[], Awaitable[None]]


async def run_periodically(task: PeriodicTask, clock: Clock, emit: Emit) -> None:
    """Do a chore for ever. A store that is away only delays it."""
    while True:
        try:
            await task.run()
        except StoreUnavailable:
            pass
        except Exception as error:  # noqa: BLE001 - a failed chore must not end the worker
            emit(OperationalWarning(code=f"{task.name}_failed", detail=str(error), error=error))
        await clock.sleep(task.interval)
