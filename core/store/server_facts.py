"""What can be read of a Redis server, for `gateway doctor`."""

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from core.clock import Clock
from core.store import keys
from core.store.client import RedisClient
from core.store.scripts import LuaScripts, load_scripts
from core.store.server_check import parse_info
from core.store.server_time import measure_offset

_SCRIPT_COMMAND: Final = re.compile(r"redis\.p?call\(\s*'([A-Z]+)'")
_PYTHON_COMMANDS: Final = frozenset(
    {"HGETALL", "HKEYS", "HLEN", "HSETNX", "HVALS", "XRANGE", "XTRIM", "ZMSCORE"}
)
"""Sent outside scripts only; each takes its key first."""
_KEYLESS: Final = frozenset({"TIME"})


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


def needed_commands() -> tuple[str, ...]:
    """Return every Redis command that the gateway runs on its keys, in order."""
    texts = (script.text for script in load_scripts().values())
    found = {name for text in texts for name in _SCRIPT_COMMAND.findall(text)}
    return tuple(sorted((found | _PYTHON_COMMANDS) - _KEYLESS))


async def _measure_clock(client: RedisClient, clock: Clock) -> tuple[timedelta, timedelta]:
    await client.execute("PING")  # the round trip below must not contain the connect
    return await measure_offset(client, clock)


async def _list_forbidden(client: RedisClient) -> tuple[str, ...]:
    scripts = LuaScripts(client, load_scripts())
    found = await scripts.call("forbidden_commands", [keys.STORE], needed_commands())
    return tuple(name.decode() for name in found)


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdigit() else None
