"""The breaker's shared record in Redis."""

from datetime import datetime

from core.circuit_breaker import CircuitBreaker
from core.clock import Clock, from_ms, to_ms
from core.store import keys
from core.store.client import RedisClient
from core.store.codecs import CIRCUIT_BREAKER_CODEC
from core.store.scripts import LuaScripts


class CircuitBreakerStore:
    """One record for all workers."""

    def __init__(self, wire: RedisClient, scripts: LuaScripts, clock: Clock) -> None:
        """Talk over `wire`; every instant is this clock's."""
        self._wire = wire
        self._scripts = scripts
        self._clock = clock

    async def load(self) -> CircuitBreaker:
        """The breaker as it stands; closed where none was ever written."""
        document = await self._wire.execute("HGET", keys.UPSTREAM_CIRCUIT, "doc")
        return CircuitBreaker() if document is None else CIRCUIT_BREAKER_CODEC.decode(document)

    async def compare_and_set(self, before: CircuitBreaker, after: CircuitBreaker) -> bool:
        """Store `after` unless somebody changed the record since `before` was read."""
        swapped = await self._scripts.call(
            "compare_and_set",
            [keys.UPSTREAM_CIRCUIT],
            [before.version, after.version, CIRCUIT_BREAKER_CODEC.encode(after)],
        )
        return bool(swapped)

    async def take_submit_token(self) -> datetime | None:
        """Take one submit's share of the global rate. None: go ahead; else when to ask again."""
        answer = await self._scripts.call(
            "take_rate_token", [keys.LIMITS, keys.SUBMIT_RATE], [to_ms(self._clock.now())]
        )
        instant = int(answer)
        return from_ms(instant) if instant else None
