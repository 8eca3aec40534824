"""A master that becomes a replica: calls get 503, never 500, then a new connection."""

from pathlib import Path

import pytest
import redis.asyncio
from pydantic import SecretStr

from core.errors import StoreUnavailable
from core.settings.definitions import ProcessSettings
from core.store.client import RedisClient, build_connection_pool
from simulator.private_redis import private_redis
from tests.support.processes import run_gateway


async def test_a_write_to_a_demoted_master_is_an_outage_and_not_a_defect(tmp_path: Path) -> None:
    with private_redis(directory=tmp_path) as server:
        settings = ProcessSettings(redis_url=SecretStr(server.url))
        admin = redis.asyncio.Redis.from_url(server.url)
        async with admin, RedisClient(build_connection_pool(settings.redis, "test")) as wire:
            await wire.execute("SET", "a", 1)
            await admin.replicaof("127.0.0.1", 1)
            with pytest.raises(StoreUnavailable):
                await wire.execute("SET", "a", 2)
            await admin.execute_command("REPLICAOF", "NO", "ONE")
            assert await wire.execute("SET", "a", 3) == b"OK"


@pytest.mark.parametrize("command", [["serve"], ["work"], ["tenant", "list"], ["limits", "show"]])
def test_a_cluster_is_refused_with_one_sentence(tmp_path: Path, command: list[str]) -> None:
    with private_redis(directory=tmp_path, options=("--cluster-enabled", "yes")) as server:
        token = {"GATEWAY_RUNCOMFY_TOKEN": "a-token", "GATEWAY_JOURNAL__URL": "off"}
        ran = run_gateway(server.url, *command, **token)
    assert ran.returncode == 2
    assert ran.stderr.startswith("gateway: Redis Cluster is not supported")
    assert ran.stderr.count("\n") == 1
