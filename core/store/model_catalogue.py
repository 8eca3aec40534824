"""RunComfy's model catalogue as a worker last fetched it. Documents are stored unparsed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from core.clock import MILLISECOND, from_ms, to_ms
from core.models.changes import MAX_CHANGES, ModelChange
from core.store import keys
from core.store.client import Argument, RedisClient
from core.store.codecs import MODEL_CHANGE_CODEC
from core.store.scripts import LuaScripts


@dataclass(frozen=True, slots=True)
class CatalogueSnapshot:
    """Each model's document by model id. `synced_at` is None if the catalogue was never fetched."""

    synced_at: datetime | None = None
    models: Mapping[str, bytes] = field(default_factory=dict)
    categories: bytes | None = None


class CatalogueStore:
    """The catalogue in Redis. Workers replace it as a whole; services read it as a whole."""

    def __init__(self, client: RedisClient, scripts: LuaScripts) -> None:
        """Send commands through `client`."""
        self._client = client
        self._scripts = scripts

    async def replace(self, snapshot: CatalogueSnapshot) -> None:
        """Replace the stored catalogue atomically."""
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
        """Return when a worker last fetched the catalogue; None if never."""
        return _parse_instant(await self._client.execute("HGET", keys.CATALOGUE_META, "synced_at"))

    async def request_sync(self, now: datetime) -> None:
        """Ask the workers for a new copy: a caller named a model that this one lacks."""
        await self._client.execute("HSET", keys.CATALOGUE_META, "requested_at", to_ms(now))

    async def is_sync_requested(self) -> bool:
        """Return whether a new copy was requested since the last sync."""
        synced_at, requested_at = await self._client.execute(
            "HMGET", keys.CATALOGUE_META, "synced_at", "requested_at"
        )
        return requested_at is not None and int(requested_at) >= int(synced_at or 0)

    async def claim_requested_sync(self, interval: timedelta) -> bool:
        """Return whether this worker may sync on request; one may in each `interval`."""
        claim = ("SET", keys.CATALOGUE_CLAIM, "1", "NX", "PX", interval // MILLISECOND)
        return await self._client.execute(*claim) is not None

    async def model_ids(self) -> frozenset[str]:
        """Return the ids of all models."""
        names = await self._client.execute("HKEYS", keys.CATALOGUE_MODELS)
        return frozenset(name.decode() for name in names)

    async def append_change(self, change: ModelChange) -> None:
        """Append a change; about the last `MAX_CHANGES` are kept."""
        document = MODEL_CHANGE_CODEC.encode(change)
        command = ("XADD", keys.CATALOGUE_CHANGES, "MAXLEN", "~", MAX_CHANGES, "*")
        await self._client.execute(*command, "change", document)

    async def list_changes(self, limit: int) -> Sequence[ModelChange]:
        """Return the latest changes, newest first."""
        rows = await self._client.execute(
            "XREVRANGE", keys.CATALOGUE_CHANGES, "+", "-", "COUNT", limit
        )
        return [MODEL_CHANGE_CODEC.decode(fields[1]) for _, fields in rows]

    async def load(self) -> CatalogueSnapshot:
        """Return the whole catalogue."""
        synced_at, categories = await self._client.execute(
            "HMGET", keys.CATALOGUE_META, "synced_at", "categories"
        )
        flat = await self._client.execute("HGETALL", keys.CATALOGUE_MODELS)
        pairs = zip(flat[::2], flat[1::2], strict=True)
        return CatalogueSnapshot(
            synced_at=_parse_instant(synced_at),
            models={name.decode(): document for name, document in pairs},
            categories=categories or None,
        )


def _parse_instant(stored: bytes | None) -> datetime | None:
    return from_ms(int(stored)) if stored else None
