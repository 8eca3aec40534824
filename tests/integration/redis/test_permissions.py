"""The rights that `gateway store acl` prints: processes need no others, and none is left out.

Tests of stores and commands that take `gateway_url` run with these rights, too.
"""

import ast
import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import httpx
import pytest
import redis
from typer.testing import CliRunner

from cli.main import app
from core.errors import StoreTimeout
from core.store import permissions
from core.store.encryption import new_encryption_key
from core.store.permissions import (
    ARQ_COMMANDS,
    PYTHON_COMMANDS,
    SERVER_COMMANDS,
    acl_rules,
)
from core.store.scripts import load_scripts
from simulator.demo import wait_for
from simulator.example import load_kling_example
from simulator.private_redis import PrivateRedis
from simulator.stack import Stack
from tests.support.media import png
from tests.support.redis import create_login, redis_client, take_refusals
from tests.support.stack import END_TIMEOUT, TenantClient, running_stack, tenant_client

LIST: Final = permissions.__file__
COMMANDS: Final = (
    ["store", "show"],
    ["store", "init"],
    ["store", "reconcile"],
    ["doctor"],
    ["encryption", "rewrite"],
)
STORE: Final = Path(LIST).parent
NO_COMMANDS: Final = {"KEYS", "SCRIPT"}
"""A word of a script's header, and a command that only benchmarks use."""


def test_each_command_of_the_stores_is_permitted_and_no_other_one(redis_flushed: str) -> None:
    with redis.Redis.from_url(redis_flushed) as client:
        known = {name.decode().upper() for name in client.execute_command("COMMAND LIST")}
    modules = [path for path in STORE.glob("*.py") if path.name != Path(LIST).name]
    named = {word for path in modules for word in _words(path)} & known - NO_COMMANDS
    # The direction of a range is computed: `Z{direction}RANGE`.
    computed = {
        f"Z{way}{what}" for way in ("", "REV") for what in ("RANGE", "RANGEBYSCORE", "RANK")
    }
    of_servers = {command.partition("|")[0] for command in SERVER_COMMANDS}
    assert named | computed == PYTHON_COMMANDS | (of_servers & named)


def _words(path: Path) -> Iterator[str]:
    """The strings in a module that are one word in capitals."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isupper():
            yield node.value


def test_the_command_is_one_that_redis_takes(own_redis: PrivateRedis) -> None:
    printed = CliRunner().invoke(app, ["store", "acl", "me"]).stdout.split()
    with redis.Redis(port=own_redis.port) as admin:
        assert admin.execute_command(*printed)
        held = admin.acl_getuser("me")
    assert held["keys"] == ["gw:*", "arq:*"] or set(held["keys"]) == {"~gw:*", "~arq:*"}
    assert not any(rule.startswith("+@") for rule in acl_rules(load_scripts()))


def test_other_keys_cannot_be_reached(own_redis: PrivateRedis) -> None:
    with redis.Redis.from_url(create_login(own_redis)) as client:
        for command in (("GET", "other"), ("SET", "other", "1"), ("KEYS", "*"), ("FLUSHALL",)):
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.execute_command(*command)


def test_processes_need_these_rights_and_use_all(own_redis: PrivateRedis, tmp_path: Path) -> None:
    url = create_login(own_redis, database=1)
    asyncio.run(_wait_for_a_replica(url))
    with (
        running_stack(tmp_path, {"GATEWAY_REDIS_URL": url}) as stack,
        tenant_client(stack, "ads", cache="off") as caller,
    ):
        _use(stack, caller)
        with redis.Redis(port=own_redis.port) as admin:
            admin.script_flush()
        assert caller.wait_for_end(caller.submitted()) == "completed"
        _run_commands(stack)
    assert take_refusals(own_redis) == []
    used = _used(own_redis)
    assert (ARQ_COMMANDS | SERVER_COMMANDS) - used == set()


async def _wait_for_a_replica(url: str) -> None:
    async with redis_client(url, replicas=1) as wire:
        with pytest.raises(StoreTimeout):
            await wire.execute_replicated("PING")


def _use(stack: Stack, caller: TenantClient) -> None:
    """What callers do, each in one call."""
    request_id = caller.submitted()
    with caller.http.stream("GET", f"/v1/requests/{request_id}/events") as events:
        assert "completed" in "".join(events.iter_text())
    example = load_kling_example()
    item = {"model_id": example.model_id, "input": example.input}
    for size in (2, 30):  # the second one is admitted in parts
        batch = caller.http.post("/v1/batches", json={"items": [item] * size})
        assert batch.status_code == 202, batch.text
    assert caller.http.post("/v1/files", content=png(64, 64)).status_code == 201
    for path in ("/v1/requests", "/v1/batches", "/v1/usage", f"/v1/requests/{request_id}"):
        assert caller.http.get(path).status_code == 200, path

    def told() -> bool | None:
        calls = httpx.get(f"{stack.receiver.url}/_recv/calls", trust_env=False).json()["calls"]
        return len(calls) > 2 or None

    wait_for(told, END_TIMEOUT, "deliveries")


def _run_commands(stack: Stack) -> None:
    """Those of `gateway` that others of these tests do not run with these rights."""
    key = json.dumps([new_encryption_key()])
    environment = {**stack.services[0].environment, "GATEWAY_ENCRYPTION_KEYS": key}
    for words in COMMANDS:
        ran = CliRunner().invoke(app, words, env=environment)
        assert ran.exit_code == 0, ran.output


def _used(server: PrivateRedis) -> set[str]:
    with redis.Redis(port=server.port) as admin:
        return {name.removeprefix("cmdstat_").upper() for name in admin.info("commandstats")}
