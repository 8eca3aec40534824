"""Signs of life of the worker processes, and the store's own health."""

from dataclasses import dataclass
from datetime import datetime

from core.clock import Clock, from_ms, to_ms
from core.retention import HEARTBEAT_RETENTION
from core.store import keys
from core.store.client import RedisClient


@dataclass(frozen=True, slots=True)
class Durability:
    """What Redis says of how it keeps data; None where it does not tell."""

    aof: bool | None
    appendfsync: str | None
    maxmemory_policy: str | None


class WorkerHeartbeats:
    """Who is there."""

    def __init__(self, wire: RedisClient, clock: Clock) -> None:
        """Talk over `wire`."""
        self._wire = wire
        self._clock = clock

    async def record(self, worker: str) -> None:
        """A worker says that it is alive; those unseen for an hour are forgotten."""
        now = self._clock.now()
        await self._wire.execute("ZADD", keys.WORKERS, to_ms(now), worker)
        await self._wire.execute(
            "ZREMRANGEBYSCORE", keys.WORKERS, "-inf", to_ms(now - HEARTBEAT_RETENTION)
        )

    async def remove(self, worker: str) -> None:
        """A worker says that it stops."""
        await self._wire.execute("ZREM", keys.WORKERS, worker)

    async def last_seen(self) -> datetime | None:
        """When any worker was last seen."""
        rows = await self._wire.execute("ZREVRANGE", keys.WORKERS, 0, 0, "WITHSCORES")
        return from_ms(int(float(rows[1]))) if rows else None

    async def load_durability(self) -> Durability:
        """How safe written data is; closed commands (managed Redis) leave fields unknown."""
        info = parse_info(await self._wire.execute("INFO", "persistence"))
        return Durability(
            aof=info.get("aof_enabled") == "1" if "aof_enabled" in info else None,
            appendfsync=await self._load_config("appendfsync"),
            maxmemory_policy=await self._load_config("maxmemory-policy"),
        )

    async def _load_config(self, name: str) -> str | None:
        answer = await self._wire.execute_or_none("CONFIG", "GET", name)
        return answer[1].decode() if answer else None


def parse_info(text: bytes) -> dict[str, str]:
    """The fields of Redis's INFO."""
    pairs = (line.partition(":") for line in text.decode().splitlines() if ":" in line)
    return {name: value.strip() for name, _, value in pairs}
