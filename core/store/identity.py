"""The identity of the store, and its position: how far it has come.

The position moves with each claim of a submit, in the claim's own script. A store whose position
is behind one that was seen before has forgotten what happened since: it went back.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from core.clock import from_ms, to_ms
from core.store import keys
from core.store.client import RedisClient
from core.store.scripts import LuaScripts


@dataclass(frozen=True, slots=True)
class StorePosition:
    """Which store this is, and how far it has come.

    `claims` counts the claims of submits. `epoch` counts how often the store went back and was
    reconciled.
    """

    store_id: str
    epoch: int = 1
    claims: int = 0
    claimed_at: datetime | None = None
    """When the last submit was claimed."""
    went_back_at: datetime | None = None
    """Since when this store is known to have gone back: until it is reconciled no submit leaves."""
    last_claim: str = ""
    """The last claim, by job and time."""
    has_known: bool = True
    """Whether the store still has the last claim of the position that the reader knew."""

    def is_behind(self, other: "StorePosition") -> bool:
        """Return whether this store has forgotten something that `other`, the same store, knew."""
        return not self.has_known or (self.epoch, self.claims) < (other.epoch, other.claims)


class StoreIdentityRepository(Protocol):
    """The identity of the store. See `StoreIdentity`."""

    async def load(self, known: StorePosition | None = None) -> StorePosition | None: ...

    async def create(self, position: StorePosition) -> bool: ...

    async def mark_went_back(self, at: datetime) -> None: ...

    async def settle(self, position: StorePosition) -> None: ...


class StoreIdentity:
    """The identity of the store, in Redis. The claims are counted by `update_job.lua`."""

    def __init__(self, client: RedisClient, scripts: LuaScripts) -> None:
        """Send commands through `client`."""
        self._client = client
        self._scripts = scripts

    async def load(self, known: StorePosition | None = None) -> StorePosition | None:
        """Return the position; None if the store has no identity: it is new, or lost everything.

        `known` is the furthest position that the caller has seen.
        """
        held = ("", "", "") if known is None else (known.epoch, known.claims, known.last_claim)
        found = await self._scripts.call("read_position", [keys.STORE, keys.STORE_CLAIMS], held)
        if not found:
            return None
        name, epoch, claims, claimed_at, went_back_at, last_claim, has_known = found
        return StorePosition(
            name.decode(),
            int(epoch),
            int(claims),
            from_ms(int(claimed_at)) if claimed_at else None,
            from_ms(int(went_back_at)) if went_back_at else None,
            last_claim.decode(),
            bool(has_known),
        )

    async def create(self, position: StorePosition) -> bool:
        """Give the store an identity; return False if it has one."""
        created = await self._client.execute("HSETNX", keys.STORE, "id", position.store_id)
        if created:
            await self._client.execute(
                "HSET", keys.STORE, "epoch", position.epoch, "claims", position.claims
            )
        return bool(created)

    async def mark_went_back(self, at: datetime) -> None:
        """Stop the submits of all workers, until `settle`. The first mark stays."""
        await self._client.execute("HSETNX", keys.STORE, "went_back_at", to_ms(at))

    async def settle(self, position: StorePosition) -> None:
        """Let submits leave again, at a position that is behind none that was seen."""
        await self._client.execute(
            "HSET", keys.STORE, "epoch", position.epoch, "claims", position.claims
        )
        await self._client.execute("HDEL", keys.STORE, "went_back_at")
