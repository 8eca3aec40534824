"""RunComfy's catalogue as the worker last read it, with its age. Documents are kept unread."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from core.clock import from_ms, to_ms
from core.store import keys
from core.store.client import Argument, RedisClient
from core.store.scripts import LuaScripts


@dataclass(frozen=True, slots=True)
class CatalogueSnapshot:
    """Every model's document by id. `synced_at` is None when the catalogue was never read."""

    synced_at: datetime | None = None
    models: Mapping[str, bytes] = field(default_factory=dict)
    categories: bytes | None = None


class CatalogueStore:
    """The catalogue in Redis: written whole by a worker, read whole by the services."""

    def __init__(self, wire: RedisClient, scripts: LuaScripts) -> None:
        """Talk over `wire`."""
        self._wire = wire
        self._scripts = scripts

    async def replace(self, snapshot: CatalogueSnapshot) -> None:
        """Put a newly read catalogue in the place of the last one, in one step."""
        rows: list[Argument] = []
        for model_id, document in snapshot.models.items():
            rows += [model_id, document]
        synced_at = "" if snapshot.synced_at is None else to_ms(snapshot.synced_at)
        await self._scripts.call(
            "replace_catalogue",
            [keys.CATALOGUE_MODELS, keys.CATALOGUE_META],
            [synced_at, snapshot.categories or b"", *rows],
        )

    async def synced_at(self) -> datetime | None:
        """When a worker last read the catalogue."""
        return _parse_instant(await self._wire.execute("HGET", keys.CATALOGUE_META, "synced_at"))

    async def load(self) -> CatalogueSnapshot:
        """The whole catalogue."""
        synced_at, categories = await self._wire.execute(
            "HMGET", keys.CATALOGUE_META, "synced_at", "categories"
        )
        flat = await self._wire.execute("HGETALL", keys.CATALOGUE_MODELS)
        pairs = zip(flat[::2], flat[1::2], strict=True)
        return CatalogueSnapshot(
            synced_at=_parse_instant(synced_at),
            models={name.decode(): document for name, document in pairs},
            categories=categories or None,
        )


def _parse_instant(stored: bytes | None) -> datetime | None:
    return from_ms(int(stored)) if stored else None
