"""Run times by model in Redis, for readers. They are written in the step that ends a job."""

import asyncio
from collections.abc import Iterable, Mapping
from datetime import timedelta

from core.history import KEPT, RunHistory
from core.store import keys
from core.store.connection import Wire


class HistoryStore:
    """How long each model's last runs took."""

    def __init__(self, wire: Wire) -> None:
        """Talk over `wire`."""
        self._wire = wire

    async def counts(self) -> Mapping[str, int]:
        """How many runs each model has ended so far: a count that moved says that there is news."""
        flat = await self._wire.execute("HGETALL", keys.RUN_COUNTS)
        pairs = zip(flat[::2], flat[1::2], strict=True)
        return {model.decode(): int(count) for model, count in pairs}

    async def load(self, models: Iterable[str]) -> Mapping[str, RunHistory]:
        """The histories of these models, in one round trip."""
        names = tuple(models)
        lists = await asyncio.gather(*map(self._times, names))
        return dict(zip(names, lists, strict=True))

    async def _times(self, model_id: str) -> RunHistory:
        times = await self._wire.execute("LRANGE", keys.runs(model_id), 0, KEPT - 1)
        return RunHistory.of(timedelta(milliseconds=int(took)) for took in times)
