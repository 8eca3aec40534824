"""Time that passes for Redis and for the stores alike, and what Redis then still holds."""

import asyncio
import re
from datetime import timedelta
from typing import Any, Final

from pydantic import SecretStr

from core.settings import RedisPolicy
from core.store import keys
from core.store.client import RedisClient, build_connection_pool
from core.store.keys import KEY_SPECS
from tests.support.clock import AdjustableClock


def redis_client(url: str) -> RedisClient:
    """A connection for a test."""
    patience = timedelta(seconds=10)
    policy = RedisPolicy(SecretStr(url), (), "", patience, patience)
    return RedisClient(build_connection_pool(policy, "test"))


def redis_policy(url: str) -> RedisPolicy:
    """A patient connection to the private Redis of the tests."""
    patience = timedelta(seconds=5)
    return RedisPolicy(SecretStr(url), (), "", patience, patience)


MILLISECOND: Final = timedelta(milliseconds=1)


OPEN: Final = frozenset({"channel", "model", "fingerprint"})
"""Parts of names that may hold colons."""


_READ: Final[dict[str, tuple[str, ...]]] = {
    "hash": ("HGETALL",),
    "zset": ("ZRANGE", "0", "-1"),
    "list": ("LRANGE", "0", "-1"),
    "set": ("SMEMBERS",),
    "string": ("GET",),
}


async def every_key(wire: RedisClient) -> list[str]:
    """All of them."""
    return sorted(name.decode() for name in await wire.execute("KEYS", "*"))


async def pass_time(wire: RedisClient, clock: AdjustableClock, span: timedelta) -> None:
    """Be `span` later: what has an end by then is gone, all other ends are so much nearer."""
    clock.shift(span)
    names = await every_key(wire)
    left = await asyncio.gather(*(wire.execute("PTTL", name) for name in names))
    for name, life in zip(names, left, strict=True):
        rest = life - span // MILLISECOND
        if life >= 0 and rest <= 0:
            await wire.execute("DEL", name)
        elif life >= 0:
            await wire.execute("PEXPIRE", name, rest)


async def take_messages(wire: RedisClient) -> None:
    """As a worker's arq does with each of its messages."""
    for name in await wire.execute("ZRANGE", keys.WAKE_QUEUE, 0, -1):
        await wire.execute("DEL", keys.arq_message(name.decode()))
    await wire.execute("DEL", keys.WAKE_QUEUE)


async def contents_of(wire: RedisClient, key: str) -> str:
    """Everything that a key holds, as one text."""
    kind = (await wire.execute("TYPE", key)).decode()
    command, *rest = _READ[kind]
    return str(await wire.execute(command, key, *rest))


def pattern_of(key: str) -> str:
    """The catalogue's pattern that a key was made by: of those that fit, the most exact one."""
    fitting = [row.pattern for row in KEY_SPECS if _as_expression(row.pattern).fullmatch(key)]
    return max(fitting, key=lambda pattern: len(re.sub(r"{\w+}", "", pattern)))


def _as_expression(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"{(\w+)}", pattern)
    texts: list[Any] = [re.escape(part) for part in parts]
    texts[1::2] = [".+" if name in OPEN else "[^:]+" for name in parts[1::2]]
    if pattern.startswith("arq:"):
        texts[1::2] = [".+"]
    return re.compile("".join(texts))
