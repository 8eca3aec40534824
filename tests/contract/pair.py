"""The twin and Redis side by side: what is done to one is done to the other; they answer alike."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from core.errors import CallerError, LimitReached

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable

    from tests.contract.gateway import Gateway, HandClock
    from tests.fakes.memory import Memory

    Act = Callable[[Gateway], Awaitable[Any]]


@dataclass(slots=True)
class Pair:
    """The two gateways, and the loop in which both live."""

    runner: asyncio.Runner
    clock: HandClock
    memory: Memory
    spec: Gateway
    real: Gateway

    def both(self, act: Act) -> Any:  # noqa: ANN401 - whatever the act gives
        """Do it in both; the answers have to be the same."""
        said, told = (self.runner.run(_outcome(act, gateway)) for gateway in (self.spec, self.real))
        assert told == said
        return said


async def _outcome(act: Act, gateway: Gateway) -> object:
    try:
        return await act(gateway)
    except LimitReached as error:
        wait = None if error.retry_after is None else error.retry_after // timedelta(milliseconds=1)
        return type(error), error.policy, wait, error.quotas
    except CallerError as error:
        return type(error), str(error)
