"""Describes for operators why Redis does not answer: the server, its own words, the setting."""

from collections.abc import Mapping
from typing import Final

from redis.asyncio import SentinelConnectionPool
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import AuthenticationError, NoPermissionError

REDIS_URL: Final = "GATEWAY_REDIS_URL"
SENTINELS: Final = "GATEWAY_REDIS_SENTINELS"

# redis-py removes the code from the server's error; operators search for it.
_CODES_BY_TEXT: Final[Mapping[str, str]] = {
    "invalid username-password": "WRONGPASS",
    "invalid password": "WRONGPASS",
    "Authentication required": "NOAUTH",
}


def describe_outage(connection: AbstractConnection, setting: str, error: BaseException) -> str:
    """Return one sentence for logs and the command line; callers of the API never get it."""
    if isinstance(getattr(connection, "connection_pool", None), SentinelConnectionPool):
        setting = SENTINELS
    words = _server_words(error)
    return f"Redis at {_address(connection)} does not answer: {words}; check {setting}."


def _address(connection: AbstractConnection) -> str:
    path = getattr(connection, "path", "")
    host, port = getattr(connection, "host", ""), getattr(connection, "port", "")
    return path or f"{host}:{port}"


def _server_words(error: BaseException) -> str:
    text = str(error).rstrip(".")
    if not isinstance(error, AuthenticationError | NoPermissionError):
        return text or type(error).__name__
    code = next(
        (code for start, code in _CODES_BY_TEXT.items() if text.startswith(start)), "NOPERM"
    )
    return f"{code} {text}"
