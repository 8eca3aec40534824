"""Holds every model's run times, a few seconds old at most, so that no answer waits for them."""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Final, NoReturn, Protocol

from core.clock import Clock
from core.errors import StoreUnavailable
from core.events import Emit, Trouble
from core.history import RunHistory

_NONE: Final = RunHistory()


class Histories(Protocol):
    """Run times by model, as workers leave them. Every call may raise `StoreUnavailable`."""

    async def counts(self) -> Mapping[str, int]:
        """See `core.store.history.HistoryStore.counts`."""
        ...

    async def load(self, models: Iterable[str]) -> Mapping[str, RunHistory]:
        """See `core.store.history.HistoryStore.load`."""
        ...


class HistoryShelf:
    """One process's histories."""

    def __init__(self, store: Histories, clock: Clock, emit: Emit) -> None:
        """Begin with none, and look to `store` for them."""
        self._store = store
        self._clock = clock
        self._emit = emit
        self._counts: Mapping[str, int] = {}
        self._histories: dict[str, RunHistory] = {}

    def of(self, model_id: str) -> RunHistory:
        """A model's history; an empty one while none is known."""
        return self._histories.get(model_id, _NONE)

    async def refresh(self) -> None:
        """Read what has changed since the last look. Raises `StoreUnavailable`."""
        counts = await self._store.counts()
        moved = [model for model, count in counts.items() if self._counts.get(model) != count]
        self._histories |= await self._store.load(moved)
        self._counts = counts

    async def keep_fresh(self, every: timedelta) -> NoReturn:
        """Refresh for ever. Old histories serve as well while the store is away."""
        while True:
            try:
                await self.refresh()
            except StoreUnavailable:
                pass
            except Exception as error:  # noqa: BLE001 - an outermost loop: hints are not worth a process
                self._emit(Trouble("histories_unreadable", type(error).__name__, error=error))
            await self._clock.sleep(every)
