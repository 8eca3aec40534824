"""Simulated and real jobs, and those of two RunComfy accounts, do not meet in one Redis."""

import asyncio
from typing import Final

import pytest
from pydantic import SecretStr

from core.errors import StoreUnavailable, StoreUnsupported
from core.settings.definitions import ProcessSettings
from core.store import keys
from core.store.client import RedisClient, build_connection_pool
from tests.support.processes import run_gateway
from tests.support.redis import redis_client

TOKEN: Final = {"GATEWAY_RUNCOMFY_TOKEN": "a-token", "GATEWAY_JOURNAL__URL": "off"}
SIMULATED: Final = {"GATEWAY_SIMULATED": "true", "GATEWAY_RUNCOMFY_URL": "http://127.0.0.1:1"}


async def set_account(url: str, account: str) -> None:
    async with redis_client(url) as client:
        await client.execute("HSET", keys.STORE, "account", account)


@pytest.mark.parametrize("command", ["serve", "work"])
@pytest.mark.parametrize(
    ("account", "settings", "expected"),
    [
        ("simulated", {}, "belongs to a simulated gateway"),
        ("real 1111111111111111", SIMULATED, "belongs to a real gateway"),
    ],
)
def test_a_process_refuses_to_start_on_the_other_kind_of_store(
    redis_flushed: str, command: str, account: str, settings: dict[str, str], expected: str
) -> None:
    asyncio.run(set_account(redis_flushed, account))
    ran = run_gateway(redis_flushed, command, **TOKEN, **settings)
    assert ran.returncode == 2
    assert expected in ran.stderr
    assert ran.stderr.count("\n") == 1


def test_a_worker_refuses_the_store_of_another_token_until_it_is_adopted(
    redis_flushed: str,
) -> None:
    asyncio.run(set_account(redis_flushed, "real 1111111111111111"))
    assert run_gateway(redis_flushed, "store", "init", GATEWAY_JOURNAL__URL="off").returncode == 0
    refused = run_gateway(redis_flushed, "work", **TOKEN)
    assert refused.returncode == 2
    fingerprint = refused.stderr.split("gateway store adopt ")[1].split("`")[0]
    adopted = run_gateway(redis_flushed, "store", "adopt", fingerprint, "--json")
    assert f"real {fingerprint} 1111111111111111" in adopted.stdout


async def test_a_connection_to_the_store_of_another_account_is_refused(redis_flushed: str) -> None:
    settings = ProcessSettings(redis_url=SecretStr(redis_flushed), simulated=True)
    async with (
        redis_client(redis_flushed) as admin,
        RedisClient(build_connection_pool(settings.own_redis, "test")) as client,
    ):
        await client.execute("SET", "a", 1)
        await admin.execute("HSET", keys.STORE, "account", "real")
        await client.disconnect()
        with pytest.raises(StoreUnavailable):
            await client.execute("SET", "a", 2)
        with pytest.raises(StoreUnsupported, match="belongs to a real gateway"):
            await client.execute("SET", "a", 2)
        assert await admin.execute("GET", "a") == b"1"
