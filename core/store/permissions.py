"""What the gateway's login must be permitted in Redis: for an ACL, and for `gateway doctor`."""

import re
from collections.abc import Mapping
from typing import Final

from core.store.keys import JOB_CHANGES
from core.store.scripts import LuaScript

KEY_PATTERNS: Final = ("gw:*", "arq:*")
CHANNELS: Final = (JOB_CHANGES,)
PYTHON_COMMANDS: Final = frozenset(
    {
        *("EXPIRE", "GET", "GETDEL", "SET"),
        *("HDEL", "HGET", "HGETALL", "HKEYS", "HLEN", "HMGET", "HSCAN", "HSET", "HSETNX", "HVALS"),
        *("LRANGE", "SISMEMBER", "SMEMBERS", "XADD", "XRANGE", "XREVRANGE", "XTRIM"),
        *("ZADD", "ZCARD", "ZCOUNT", "ZMSCORE", "ZRANGE", "ZRANGEBYSCORE", "ZRANK", "ZREM"),
        *("ZREMRANGEBYSCORE", "ZREVRANGE", "ZREVRANGEBYSCORE", "ZREVRANK", "ZSCORE"),
    }
)
"""Sent to keys outside scripts. Each takes its key first."""
ARQ_COMMANDS: Final = frozenset(
    {"DBSIZE", "DEL", "EXEC", "EXPIRE", "GET", "INCRBY", "MULTI", "PSETEX", "SET", "ZREM", "ZSCORE"}
)
"""Sent by the library that delivers wake-ups to workers."""
SERVER_COMMANDS: Final = frozenset(
    {
        *("CLIENT|SETNAME", "PING", "SELECT"),
        *("EVAL", "EVALSHA", "SUBSCRIBE", "SCAN", "TIME", "WAIT"),
        *("CONFIG|GET", "INFO"),
    }
)
"""Of connections, scripts and the server. The last two show how safely it stores."""
_SCRIPT_COMMAND: Final = re.compile(r"redis\.p?call\(\s*'([A-Z]+)'")
_WITHOUT_KEYS: Final = frozenset({"DBSIZE", "EXEC", "MULTI", "TIME"})


def needed_key_commands(scripts: Mapping[str, LuaScript]) -> tuple[str, ...]:
    """Return every command that the gateway runs on its keys and its channel, in order."""
    commands = script_commands(scripts) | PYTHON_COMMANDS | ARQ_COMMANDS
    return tuple(sorted(commands - _WITHOUT_KEYS))


def acl_rules(scripts: Mapping[str, LuaScript]) -> tuple[str, ...]:
    """Return the rules of a Redis ACL that permit what the gateway needs, and nothing else.

    For a user who may do nothing yet, or had the rules of another release.
    """
    commands = script_commands(scripts) | PYTHON_COMMANDS | ARQ_COMMANDS | SERVER_COMMANDS
    return (
        *("resetkeys", *(f"~{pattern}" for pattern in KEY_PATTERNS)),
        *("resetchannels", *(f"&{channel}" for channel in CHANNELS)),
        *("nocommands", *(f"+{command.lower()}" for command in sorted(commands))),
    )


def script_commands(scripts: Mapping[str, LuaScript]) -> frozenset[str]:
    """Return the commands in the scripts."""
    texts = (script.text for script in scripts.values())
    return frozenset(name for text in texts for name in _SCRIPT_COMMAND.findall(text))
