"""What a worker does now and then: sign its name, read the catalogue, look at the store.

Each is safe to do by several workers at once; the catalogue is read by whoever finds it old.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from core.clock import Clock
from core.errors import StoreUnavailable
from core.events import Emit, Trouble
from core.store.catalogue import CatalogueSnapshot, CatalogueStore
from core.store.presence import Durability, Presence
from worker.ports import CatalogueSource, Unreachable

SIGN_EVERY: Final = timedelta(seconds=5)
LOOK_EVERY: Final = timedelta(seconds=15)


@dataclass(frozen=True, slots=True)
class Chore:
    """Something to be done every so often."""

    name: str
    every: timedelta
    do: Callable[[], Awaitable[None]]


async def keep_doing(chore: Chore, clock: Clock, emit: Emit) -> None:
    """Do a chore for ever. A store that is away only delays it."""
    while True:
        try:
            await chore.do()
        except StoreUnavailable:
            pass
        except Exception as error:  # noqa: BLE001 - a failed chore must not end the worker
            emit(Trouble(code=f"{chore.name}_failed", detail=str(error), error=error))
        await clock.sleep(chore.every)


class CatalogueSync:
    """Copies RunComfy's catalogue into the store when the copy there is old."""

    def __init__(
        self,
        source: CatalogueSource,
        store: CatalogueStore,
        clock: Clock,
        emit: Emit,
        fresh_for: timedelta,
    ) -> None:
        """A copy older than `fresh_for` is replaced."""
        self._source = source
        self._store = store
        self._clock = clock
        self._emit = emit
        self._fresh_for = fresh_for

    async def run_once(self) -> None:
        """Read the catalogue if it is time. A failed or empty read leaves the old copy as it is."""
        now = self._clock.now()
        synced_at = await self._store.synced_at()
        if synced_at is not None and now - synced_at < self._fresh_for:
            return
        models = await self._source.models()
        if isinstance(models, Unreachable) or not models:
            why = models.fault.message if isinstance(models, Unreachable) else "It holds no model."
            self._emit(Trouble(code="catalogue_unread", detail=why))
            return
        categories: bytes | Unreachable | None = await self._source.categories()
        if isinstance(categories, Unreachable):
            categories = (await self._store.load()).categories
        snapshot = CatalogueSnapshot(
            synced_at=now,
            models={model.model_id: model.document for model in models},
            categories=categories,
        )
        await self._store.replace(snapshot)


async def warn_of_weak_store(presence: Presence, emit: Emit) -> None:
    """Say once, loudly, where Redis is set up so that it can lose what was answered with 202."""
    for weakness in weaknesses(await presence.durability()):
        emit(Trouble(code="store_not_durable", detail=weakness))


def weaknesses(durability: Durability) -> tuple[str, ...]:
    """What the promise needs and this Redis does not have; unknown settings are not judged."""
    found: list[str] = []
    if durability.aof is False:
        found.append("appendonly is off: a crash of Redis loses accepted jobs")
    elif durability.appendfsync not in {None, "always"}:
        found.append(
            f"appendfsync is {durability.appendfsync}: a power cut may lose the last second, "
            "and a lost second can mean a second submit"
        )
    if durability.maxmemory_policy not in {None, "noeviction"}:
        found.append(
            f"maxmemory-policy is {durability.maxmemory_policy}: Redis may evict jobs when full"
        )
    return tuple(found)
