"""The in-memory stores and Redis side by side: each call is made to both, with equal results."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from core.errors import CallerError, LimitReached
from tests.support.clock import FakeClock
from tests.support.memory_store.state import MemoryState
from tests.support.store_harness import StoreHarness

Act = Callable[[StoreHarness], Awaitable[Any]]


@dataclass(slots=True)
class LockstepHarness:
    """Both store harnesses, and the event loop that they share."""

    runner: asyncio.Runner
    clock: FakeClock
    memory: MemoryState
    fake: StoreHarness
    redis: StoreHarness

    def run_both(self, operation: Act) -> Any:  # noqa: ANN401 - whatever the act gives
        """Call both; the results must be equal."""
        said, told = (
            self.runner.run(_outcome(operation, gateway)) for gateway in (self.fake, self.redis)
        )
        assert told == said
        return said


async def _outcome(operation: Act, gateway: StoreHarness) -> object:
    try:
        return await operation(gateway)
    except LimitReached as error:
        wait = None if error.retry_after is None else error.retry_after // timedelta(milliseconds=1)
        return type(error), error.policy, wait, error.quotas
    except CallerError as error:
        return type(error), str(error)
