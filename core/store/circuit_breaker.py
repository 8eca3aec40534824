"""The circuit breakers for submits to RunComfy, shared by all workers."""

from collections.abc import Mapping
from datetime import datetime

from core.clock import Clock, from_ms, to_ms
from core.store import keys
from core.store.client import RedisClient
from core.store.codecs import CIRCUIT_BREAKER_CODEC
from core.store.scripts import LuaScripts
from core.upstream.circuit_breaker import CircuitBreaker
from core.upstream.circuits import ACCOUNT, BALANCE, Circuits, model_circuit


class CircuitBreakerStore:
    """One hash in Redis. A breaker that is closed and remembers nothing is not stored."""

    def __init__(self, client: RedisClient, scripts: LuaScripts, clock: Clock) -> None:
        """Send commands through `client`; `clock` gives every instant that a script compares."""
        self._client = client
        self._scripts = scripts
        self._clock = clock

    async def load(self, model_id: str) -> Circuits:
        """Return the breakers that concern submits of a model."""
        names = ACCOUNT, BALANCE, model_circuit(model_id)
        row = await self._client.execute("HMGET", keys.UPSTREAM_CIRCUITS, *names)
        return Circuits(model_id, *map(_parse, row))

    async def load_all(self) -> Mapping[str, CircuitBreaker]:
        """Return every stored breaker by name."""
        flat = await self._client.execute("HGETALL", keys.UPSTREAM_CIRCUITS)
        return {n.decode(): _parse(doc) for n, doc in zip(flat[::2], flat[1::2], strict=True)}

    async def compare_and_set(
        self, name: str, before: CircuitBreaker, after: CircuitBreaker
    ) -> bool:
        """Store `after`; return False if the breaker has changed since `before` was read."""
        document = b"" if after.is_pristine else CIRCUIT_BREAKER_CODEC.encode(after)
        swapped = await self._scripts.call(
            "set_circuit",
            [keys.UPSTREAM_CIRCUITS],
            [name, before.version, after.version, document],
        )
        return bool(swapped)

    async def take_submit_token(self) -> datetime | None:
        """Take a token of the global submit rate; return when to retry if none is left."""
        answer = await self._scripts.call(
            "take_rate_token", [keys.LIMITS, keys.SUBMIT_RATE], [to_ms(self._clock.now())]
        )
        instant = int(answer)
        return from_ms(instant) if instant else None


def _parse(stored: bytes | None) -> CircuitBreaker:
    if stored is None:
        return CircuitBreaker()
    return CIRCUIT_BREAKER_CODEC.decode(stored.partition(b" ")[2])
