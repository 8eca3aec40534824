"""Run times by model, and what failed runs cost: the store, and each process's cache of it."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import timedelta
from itertools import islice
from typing import Final, NoReturn

from core.clock import Clock
from core.errors import StoreUnavailable
from core.jobs.refusal_costs import RefusalCosts
from core.jobs.run_times import MAX_RUNS, RunHistory
from core.observability.events import Emit, OperationalWarning
from core.store import keys
from core.store.client import RedisClient
from core.store.interfaces import RunTimeRepository


class RunTimeStore:
    """The last run times of each model in Redis."""

    def __init__(self, client: RedisClient) -> None:
        """Send commands through `client`."""
        self._client = client

    async def load_counts(self) -> Mapping[str, int]:
        """Return the number of finished runs of each model; a changed count means new run times."""
        flat = await self._client.execute("HGETALL", keys.RUN_COUNTS)
        pairs = zip(flat[::2], flat[1::2], strict=True)
        return {model.decode(): int(count) for model, count in pairs}

    async def load_refusal_costs(self) -> Mapping[str, RefusalCosts]:
        """Return how many failed runs of each model were charged, and how many were free."""
        flat = await self._client.execute("HGETALL", keys.REFUSAL_COSTS)
        counts: defaultdict[str, dict[str, int]] = defaultdict(dict)
        for name, count in zip(flat[::2], flat[1::2], strict=True):
            kind, _, model = name.decode().partition("|")
            counts[model][kind] = int(count)
        return {model: RefusalCosts(**fields) for model, fields in counts.items()}

    async def load(self, models: Iterable[str]) -> Mapping[str, RunHistory]:
        """Return the run histories of these models, read in one round trip."""
        names = tuple(models)
        lists = await asyncio.gather(*map(self._load_times, names))
        return dict(zip(names, lists, strict=True))

    async def _load_times(self, model_id: str) -> RunHistory:
        times = await self._client.execute("LRANGE", keys.run_times(model_id), 0, MAX_RUNS - 1)
        return RunHistory.from_newest_first(timedelta(milliseconds=int(took)) for took in times)


_EMPTY: Final = RunHistory()


class RunTimeCache:
    """The run histories that one process estimates waits from."""

    def __init__(self, store: RunTimeRepository, clock: Clock, emit: Emit) -> None:
        """Start empty; `refresh` reads `store`."""
        self._store = store
        self._clock = clock
        self._emit = emit
        self._counts: Mapping[str, int] = {}
        self._histories: dict[str, RunHistory] = {}
        self.refusal_costs: Mapping[str, RefusalCosts] = {}
        """By model, for those of which a failed run's cost is known."""

    def get(self, model_id: str) -> RunHistory:
        """Return a model's history; an empty one if none is known."""
        return self._histories.get(model_id, _EMPTY)

    def busiest(self, limit: int) -> list[tuple[str, RunHistory]]:
        """Return the models with the most finished runs that an estimate can be made of."""
        names = sorted(self._counts, key=lambda model: -self._counts[model])
        known = ((name, self.get(name)) for name in names)
        return list(islice((one for one in known if one[1].has_enough_runs), limit))

    async def refresh(self) -> None:
        """Read the histories that changed since the last refresh. Raises `StoreUnavailable`."""
        counts, refusal_costs = await asyncio.gather(
            self._store.load_counts(), self._store.load_refusal_costs()
        )
        moved = [model for model, count in counts.items() if self._counts.get(model) != count]
        self._histories |= await self._store.load(moved)
        self._counts = counts
        self.refusal_costs = refusal_costs

    async def refresh_forever(self, interval: timedelta) -> NoReturn:
        """Refresh at an interval, for ever. Old histories serve while the store is unavailable."""
        while True:
            try:
                await self.refresh()
            except StoreUnavailable:
                pass
            except Exception as error:  # noqa: BLE001 - an outermost loop: a hint must not end the process
                self._emit(
                    OperationalWarning("run_times_invalid", type(error).__name__, error=error)
                )
            await self._clock.sleep(interval)
