"""Connections to a private Redis, the passing of time in it, and the keys that it holds."""

import asyncio
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

import redis
from pydantic import SecretStr

from core.settings.definitions import RedisPolicy
from core.store import keys
from core.store.client import RedisClient, build_connection_pool
from core.store.keys import KEY_SPECS
from core.store.permissions import acl_rules
from core.store.scripts import load_scripts
from simulator.private_redis import PrivateRedis
from tests.support.clock import FakeClock

TIMEOUT: Final = timedelta(seconds=10)
"""Long enough for a busy machine: a test that waits for it has failed."""

MILLISECOND: Final = timedelta(milliseconds=1)

MAY_HOLD_COLONS: Final = frozenset({"channel", "model", "fingerprint"})
"""Placeholders of key patterns."""

_READ: Final[dict[str, tuple[str, ...]]] = {
    "hash": ("HGETALL",),
    "zset": ("ZRANGE", "0", "-1"),
    "list": ("LRANGE", "0", "-1"),
    "set": ("SMEMBERS",),
    "string": ("GET",),
}


LOGIN: Final = "gateway:secret"


def create_login(server: PrivateRedis, database: int = 0) -> str:
    """Give the server a user with the rights of `gateway store acl`; return its URL."""
    with redis.Redis(port=server.port) as admin:
        name, password = LOGIN.split(":")
        rules = acl_rules(load_scripts())
        admin.execute_command("ACL", "SETUSER", name, "on", f">{password}", *rules)
    return f"redis://{LOGIN}@127.0.0.1:{server.port}/{database}"


def take_refusals(server: PrivateRedis) -> list[str]:
    """Return what was refused to any login since the last call: the right that it lacked."""
    with redis.Redis(port=server.port) as admin:
        found = [f"{row['reason']} {row['object']}" for row in admin.acl_log()]
        admin.acl_log_reset()
        return found


def redis_policy(url: str, timeout: timedelta = TIMEOUT) -> RedisPolicy:
    """Settings of a plain connection to `url`."""
    return RedisPolicy(SecretStr(url), (), "", timeout, timeout)


def redis_client(url: str, timeout: timedelta = TIMEOUT, replicas: int = 0) -> RedisClient:
    """The product's own client, to be entered with `async with`."""
    pool = build_connection_pool(redis_policy(url, timeout), "test")
    return RedisClient(pool, replicas=replicas)


async def every_key(wire: RedisClient) -> list[str]:
    """All keys in order."""
    return sorted(name.decode() for name in await wire.execute("KEYS", "*"))


async def pass_time(wire: RedisClient, clock: FakeClock, span: timedelta) -> None:
    """Move `clock`, and shorten every TTL by `span`: Redis has a clock of its own."""
    clock.shift(span)
    names = await every_key(wire)
    left = await asyncio.gather(*(wire.execute("PTTL", name) for name in names))
    for name, life in zip(names, left, strict=True):
        rest = life - span // MILLISECOND
        if life >= 0 and rest <= 0:
            await wire.execute("DEL", name)
        elif life >= 0:
            await wire.execute("PEXPIRE", name, rest)


StoreCopy = Mapping[str, tuple[int, bytes]]
"""The content of each key, and its remaining milliseconds; 0: it does not expire."""


async def copy_store(wire: RedisClient) -> StoreCopy:
    """Return a copy of all keys, as a backup has them."""
    return {
        name: (max(0, await wire.execute("PTTL", name)), await wire.execute("DUMP", name))
        for name in await every_key(wire)
    }


async def put_back(wire: RedisClient, copy: StoreCopy) -> None:
    """Put a copy in the place of all keys: the store goes back."""
    await wire.execute("FLUSHDB")
    for name, (ttl, content) in copy.items():
        await wire.execute("RESTORE", name, ttl, content)


async def take_messages(wire: RedisClient) -> None:
    """Remove every wake-up message, as a worker's arq does when it runs them."""
    for name in await wire.execute("ZRANGE", keys.WAKE_QUEUE, 0, -1):
        await wire.execute("DEL", keys.arq_message(name.decode()))
    await wire.execute("DEL", keys.WAKE_QUEUE)


def is_close_to(ttl: timedelta | None, span: timedelta) -> bool:
    """Whether a TTL is `span`, less the time that Redis's own clock has moved during the test."""
    return ttl is not None and abs(ttl - span) < timedelta(seconds=1)


async def contents_of(wire: RedisClient, key: str) -> str:
    """Everything that a key holds, as one string."""
    kind = (await wire.execute("TYPE", key)).decode()
    command, *rest = _READ[kind]
    return str(await wire.execute(command, key, *rest))


def pattern_of(key: str) -> str:
    """The pattern of the key catalogue that fits `key`; of several, the most specific."""
    fitting = [row.pattern for row in KEY_SPECS if _as_expression(row.pattern).fullmatch(key)]
    return max(fitting, key=lambda pattern: len(re.sub(r"{\w+}", "", pattern)))


def _as_expression(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"{(\w+)}", pattern)
    texts: list[Any] = [re.escape(part) for part in parts]
    texts[1::2] = [".+" if name in MAY_HOLD_COLONS else "[^:]+" for name in parts[1::2]]
    if pattern.startswith("arq:"):
        texts[1::2] = [".+"]
    return re.compile("".join(texts))
