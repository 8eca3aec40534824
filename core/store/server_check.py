"""Refuses a server that must not hold jobs, or has those of another account or a newer release."""

import re
from collections.abc import Mapping
from typing import Any, Final

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from core.runcomfy_account import account_issue
from core.store import keys
from core.store.schema import schema_issue

MIN_REDIS: Final = (7, 0)
MIN_VALKEY: Final = (7, 2)


class UnsupportedServer(RedisConnectionError):
    """The server must not hold the gateway's data; the message is a sentence for operators."""


def server_issue(info: Mapping[str, str]) -> str | None:
    """Return why the server with this `INFO server` is refused; None if it is supported.

    Older versions answer errors of scripts with one code for all, so that a full or read-only
    server appears as a bug, and ignore `min-replicas-to-write` in scripts. A cluster
    refuses scripts over keys of several slots. A server that reports no version is accepted:
    managed ones hide it.
    """
    if info.get("redis_mode") == "cluster":
        return (
            "Redis Cluster is not supported: one script changes keys of several slots. "
            "Use one Redis with replicas and Sentinel."
        )
    name, field, minimum = (
        ("Valkey", "valkey_version", MIN_VALKEY)
        if "valkey_version" in info
        else ("Redis", "redis_version", MIN_REDIS)
    )
    version = info.get(field, "")
    if version and _parse_version(version) < minimum:
        required = ".".join(map(str, minimum))
        return f"{name} {version} is too old: {name} {required} or later is required."
    return None


def parse_info(text: bytes) -> dict[str, str]:
    """Parse the answer of Redis's INFO into its fields."""
    lines = text.decode(errors="replace").splitlines()
    pairs = (line.partition(":") for line in lines if ":" in line)
    return {name: value.strip() for name, _, value in pairs}


async def connect_to_own_store(connection: Any, account: str = "") -> None:  # noqa: ANN401 - any class of redis-py
    """Log in on a new connection, then check the server: redis-py's `redis_connect_func`.

    Every connection is checked, so that a process that is moved to the store of another account, or
    of a newer release, touches nothing there. `account`: this process's (`core.runcomfy_account`);
    empty: any store.

    Raises `UnsupportedServer`.
    """
    await connection.on_connect()
    info = await _ask(connection, "INFO", "server")
    issue = None if info is None else server_issue(parse_info(info))
    if issue is None:
        fields = await _ask(connection, "HMGET", keys.STORE, "schema", "account")
        schema, held = fields or (None, None)
        issue = None if schema is None else schema_issue(schema.decode())
        if issue is None and account and held is not None:
            issue = account_issue(held.decode(), account)
    if issue is not None:
        raise UnsupportedServer(issue)


async def _ask(connection: Any, *command: str) -> Any:  # noqa: ANN401 - as above, and Redis answers in many types
    """Return the answer; None if the login is not permitted to use the command."""
    await connection.send_command(*command, check_health=False)
    try:
        return await connection.read_response(disable_decoding=True)
    except ResponseError:
        return None


def _parse_version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:2])
