"""The breaker's shared record in Redis."""

from core.breaker import Breaker
from core.store import keys
from core.store.connection import Wire
from core.store.lua import Scripts
from core.store.records import BREAKERS


class BreakerStore:
    """One record for all workers."""

    def __init__(self, wire: Wire, scripts: Scripts) -> None:
        """Talk over `wire`."""
        self._wire = wire
        self._scripts = scripts

    async def load(self) -> Breaker:
        """The breaker as it stands; closed where none was ever written."""
        document = await self._wire.execute("HGET", keys.UPSTREAM, "doc")
        return Breaker() if document is None else BREAKERS.read(document)

    async def swap(self, before: Breaker, after: Breaker) -> bool:
        """Store `after` unless somebody changed the record since `before` was read."""
        swapped = await self._scripts.call(
            "swap", [keys.UPSTREAM], [before.version, after.version, BREAKERS.write(after)]
        )
        return bool(swapped)
