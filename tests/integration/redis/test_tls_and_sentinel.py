"""The Redis client over TLS, and to a Sentinel's master: large answers, many in parallel."""

import asyncio
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest
import redis
from pydantic import SecretStr

from core.errors import StoreUnavailable
from core.settings.definitions import ProcessSettings
from core.store.client import RedisClient, build_connection_pool
from simulator.private_redis import private_redis
from tests.support.sentinel import replicated_redis, sentinel, settings_of
from tests.support.tls import CertificateAuthority, tls_proxy

LARGE: Final = b"x" * 3_000_000
SOON: Final = timedelta(seconds=150)
AT_FAIL_OVER: Final = 50
AFTER_FAIL_OVER: Final = 200


async def exchange_commands(settings: ProcessSettings) -> None:
    """Send large and small commands in parallel; each gets its own answer."""
    async with RedisClient(build_connection_pool(settings.redis, "test")) as wire:
        assert await wire.execute("SET", "large", LARGE) == b"OK"
        numbers = range(500)
        await asyncio.gather(*(wire.execute("SET", f"n:{n}", n) for n in numbers))
        answers = await asyncio.gather(
            wire.execute("GET", "large"), *(wire.execute("GET", f"n:{n}") for n in numbers)
        )
        assert answers == [LARGE, *(str(n).encode() for n in numbers)]


async def test_the_wire_speaks_tls(tmp_path: Path) -> None:
    authority = CertificateAuthority(tmp_path)
    authority.create()
    authority.server("DNS:localhost")
    pair = {
        "certificate": tmp_path / "DNS_localhost.pem",
        "key": tmp_path / "DNS_localhost.key",
    }
    with private_redis() as server, tls_proxy(server.port, **pair) as port:
        url = f"rediss://localhost:{port}/0?ssl_ca_certs={tmp_path / 'ca.pem'}"
        await exchange_commands(ProcessSettings(redis_url=SecretStr(url)))


async def test_the_wire_asks_a_sentinel_for_its_master(tmp_path: Path) -> None:
    with (
        private_redis(directory=tmp_path / "master") as master,
        sentinel(tmp_path, master.port) as watcher,
    ):
        watcher.wait_for_replicas(0)
        await exchange_commands(settings_of(watcher))


async def test_sentinels_with_a_password_of_their_own(tmp_path: Path) -> None:
    with (
        private_redis(directory=tmp_path / "master") as master,
        sentinel(tmp_path, master.port, password="sesame") as watcher,
    ):
        watcher.wait_for_replicas(0)
        await exchange_commands(settings_of(watcher, redis_sentinel_password="sesame"))
        async with RedisClient(build_connection_pool(settings_of(watcher).redis, "test")) as wire:
            with pytest.raises(StoreUnavailable):
                await wire.execute("GET", "large")


@pytest.mark.parametrize("number", range(3))
async def test_a_planned_fail_over_loses_no_acknowledged_write(tmp_path: Path, number: int) -> None:
    """The old master lives on for ten seconds and acknowledges writes that nobody else has."""
    acknowledged: list[int] = []
    has_begun = False
    with replicated_redis(tmp_path) as (old, new, watcher):
        async with RedisClient(build_connection_pool(settings_of(watcher).redis, "test")) as wire:
            async with asyncio.timeout(SOON.total_seconds()):
                while not watcher.is_master(new.port) or acknowledged[-1] < AFTER_FAIL_OVER:
                    at = len(acknowledged) + 1
                    # Once: the write of this number may fail, and is then tried again.
                    if at == AT_FAIL_OVER and not has_begun:
                        has_begun = True
                        watcher.fail_over()
                    with suppress(StoreUnavailable):
                        await wire.execute("SET", f"n:{at}", at)
                        acknowledged.append(at)
                    await asyncio.sleep(0.005)
        with redis.Redis(port=new.port) as client:
            kept = {int(key.removeprefix(b"n:")) for key in client.keys("n:*")}
    assert old.port != new.port
    assert set(acknowledged) <= kept, number
