"""Heartbeats of the worker processes, and how durably Redis stores data."""

from dataclasses import dataclass
from datetime import datetime

from core.clock import Clock, from_ms, to_ms
from core.retention import HEARTBEAT_RETENTION
from core.store import keys
from core.store.client import RedisClient
from core.store.scripts import LuaScripts
from core.store.server_check import parse_info


@dataclass(frozen=True, slots=True)
class Durability:
    """Redis's settings that decide whether data can be lost; None for one that it does not show."""

    aof: bool | None
    appendfsync: str | None
    maxmemory_policy: str | None


class WorkerHeartbeats:
    """The worker processes by last heartbeat, in Redis."""

    def __init__(self, client: RedisClient, scripts: LuaScripts, clock: Clock) -> None:
        """Send commands through `client`."""
        self._client = client
        self._scripts = scripts
        self._clock = clock

    async def record(self, worker: str) -> None:
        """Record a worker's heartbeat, and drop workers without one for `HEARTBEAT_RETENTION`."""
        now = self._clock.now()
        await self._scripts.write_always("ZADD", keys.WORKERS, to_ms(now), worker)
        await self._client.execute(
            "ZREMRANGEBYSCORE", keys.WORKERS, "-inf", to_ms(now - HEARTBEAT_RETENTION)
        )

    async def remove(self, worker: str) -> None:
        """Drop a worker that stops."""
        await self._client.execute("ZREM", keys.WORKERS, worker)

    async def last_seen(self) -> datetime | None:
        """Return the time of the latest heartbeat of any worker; None if there is none."""
        rows = await self._client.execute("ZREVRANGE", keys.WORKERS, 0, 0, "WITHSCORES")
        return from_ms(int(float(rows[1]))) if rows else None

    async def load_durability(self) -> Durability:
        """Return the durability settings. Managed Redis servers hide some: those are None."""
        info = parse_info(await self._client.execute("INFO", "persistence"))
        return Durability(
            aof=info.get("aof_enabled") == "1" if "aof_enabled" in info else None,
            appendfsync=await self._load_config("appendfsync"),
            maxmemory_policy=await self._load_config("maxmemory-policy"),
        )

    async def _load_config(self, name: str) -> str | None:
        answer = await self._client.execute_or_none("CONFIG", "GET", name)
        return answer[1].decode() if answer else None
