"""The breaker's shared record in Redis."""

from datetime import datetime

from core.circuit_breaker import Breaker
from core.clock import Clock, from_ms, to_ms
from core.store import keys
from core.store.client import Wire
from core.store.codecs import BREAKERS
from core.store.scripts import Scripts


class BreakerStore:
    """One record for all workers."""

    def __init__(self, wire: Wire, scripts: Scripts, clock: Clock) -> None:
        """Talk over `wire`; every instant is this clock's."""
        self._wire = wire
        self._scripts = scripts
        self._clock = clock

    async def load(self) -> Breaker:
        """The breaker as it stands; closed where none was ever written."""
        document = await self._wire.execute("HGET", keys.UPSTREAM, "doc")
        return Breaker() if document is None else BREAKERS.read(document)

    async def swap(self, before: Breaker, after: Breaker) -> bool:
        """Store `after` unless somebody changed the record since `before` was read."""
        swapped = await self._scripts.call(
            "compare_and_set",
            [keys.UPSTREAM],
            [before.version, after.version, BREAKERS.write(after)],
        )
        return bool(swapped)

    async def take_submit(self) -> datetime | None:
        """Take one submit's share of the global rate. None: go ahead; else when to ask again."""
        answer = await self._scripts.call(
            "take_rate_token", [keys.LIMITS, keys.SUBMIT_RATE], [to_ms(self._clock.now())]
        )
        instant = int(answer)
        return from_ms(instant) if instant else None
