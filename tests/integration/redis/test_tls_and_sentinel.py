"""The Redis client over TLS, and to a Sentinel's master: large answers, many in parallel."""

import asyncio
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Final

import redis
from pydantic import SecretStr

from core.settings import ProcessSettings
from core.store.client import RedisClient, build_connection_pool
from simulator.private_redis import find_server, free_port, private_redis
from tests.support.tls import CertificateAuthority, tls_proxy

LARGE: Final = b"x" * 3_000_000
SOON: Final = timedelta(seconds=60)


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


@contextmanager
def sentinel(folder: Path, master_port: int) -> Iterator[int]:
    """Run a Sentinel that watches one master, and yield its port."""
    port, configuration = free_port(), folder / "sentinel.conf"
    configuration.write_text(
        f"port {port}\nbind 127.0.0.1\ndir {folder}\n"
        f"sentinel monitor house 127.0.0.1 {master_port} 1\n",
        encoding="utf-8",
    )
    command = [str(find_server()), str(configuration), "--sentinel"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        yield port
    finally:
        process.terminate()
        process.wait(timeout=SOON.total_seconds())


def has_master(port: int) -> bool:
    """Whether the Sentinel at `port` answers."""
    try:
        with redis.Redis(port=port) as client:
            return bool(client.execute_command("SENTINEL", "get-master-addr-by-name", "house"))
    except redis.ConnectionError:
        return False


async def test_the_wire_asks_a_sentinel_for_its_master(tmp_path: Path) -> None:
    with (
        private_redis(directory=tmp_path / "master") as master,
        sentinel(tmp_path, master.port) as port,
    ):
        until = time.monotonic() + SOON.total_seconds()
        while not has_master(port):
            assert time.monotonic() < until
            await asyncio.sleep(0.05)
        await exchange_commands(
            ProcessSettings(redis_sentinels=(f"127.0.0.1:{port}",), redis_master="house")
        )
