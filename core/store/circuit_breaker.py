"""The circuit breaker over RunComfy, shared by all workers."""

from datetime import datetime

from core.circuit_breaker import CircuitBreaker
from core.clock import Clock, from_ms, to_ms
from core.store import keys
from core.store.client import RedisClient
from core.store.codecs import CIRCUIT_BREAKER_CODEC
from core.store.scripts import LuaScripts


class CircuitBreakerStore:
    """The circuit breaker's one record in Redis."""

    def __init__(self, client: RedisClient, scripts: LuaScripts, clock: Clock) -> None:
        """Send commands through `client`; `clock` gives every instant that a script compares."""
        self._client = client
        self._scripts = scripts
        self._clock = clock

    async def load(self) -> CircuitBreaker:
        """Return the stored circuit breaker; a closed one if none was ever stored."""
        document = await self._client.execute("HGET", keys.UPSTREAM_CIRCUIT, "doc")
        return CircuitBreaker() if document is None else CIRCUIT_BREAKER_CODEC.decode(document)

    async def compare_and_set(self, before: CircuitBreaker, after: CircuitBreaker) -> bool:
        """Store `after`; return False if the record has changed since `before` was read."""
        swapped = await self._scripts.call(
            "compare_and_set",
            [keys.UPSTREAM_CIRCUIT],
            [before.version, after.version, CIRCUIT_BREAKER_CODEC.encode(after)],
        )
        return bool(swapped)

    async def take_submit_token(self) -> datetime | None:
        """Take a token of the global submit rate; return when to retry if none is left."""
        answer = await self._scripts.call(
            "take_rate_token", [keys.LIMITS, keys.SUBMIT_RATE], [to_ms(self._clock.now())]
        )
        instant = int(answer)
        return from_ms(instant) if instant else None
