"""What can be read of a Redis server, for `gateway doctor`."""

from dataclasses import dataclass
from datetime import timedelta

from core.clock import Clock
from core.store import keys
from core.store.client import RedisClient
from core.store.permissions import needed_key_commands
from core.store.scripts import LuaScripts, load_scripts
from core.store.server_check import parse_info
from core.store.server_time import measure_offset


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """A Redis server's own figures; None or '' for what it does not show."""

    product: str
    version: str
    replicas: int | None
    used_bytes: int | None
    max_bytes: int | None
    """None, or 0: no limit."""
    clock_offset: timedelta
    """The server's clock minus this machine's."""
    round_trip: timedelta
    forbidden: tuple[str, ...] = ()
    """Commands that the gateway needs and its login may not run on its keys."""


async def read_server_facts(client: RedisClient, clock: Clock) -> ServerFacts:
    """Return the facts. Raises `StoreUnavailable`."""
    offset, round_trip = await _measure_clock(client, clock)
    info = parse_info(await client.execute_or_none("INFO") or b"")
    valkey = "valkey_version" in info
    return ServerFacts(
        product="Valkey" if valkey else "Redis",
        version=info.get("valkey_version" if valkey else "redis_version", ""),
        replicas=_number(info.get("connected_slaves")),
        used_bytes=_number(info.get("used_memory")),
        max_bytes=_number(info.get("maxmemory")),
        clock_offset=offset,
        round_trip=round_trip,
        forbidden=await _list_forbidden(client),
    )


async def _measure_clock(client: RedisClient, clock: Clock) -> tuple[timedelta, timedelta]:
    await client.execute("PING")  # the round trip below must not contain the connect
    return await measure_offset(client, clock)


async def _list_forbidden(client: RedisClient) -> tuple[str, ...]:
    loaded = load_scripts()
    scripts, commands = LuaScripts(client, loaded), needed_key_commands(loaded)
    found = await scripts.call("forbidden_commands", [keys.STORE], commands)
    return tuple(name.decode() for name in found)


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdigit() else None
