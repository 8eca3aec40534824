"""The admin API on a port of its own, in one process and in several."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from simulator.private_redis import free_port
from tests.support.processes import (
    GATEWAY,
    READY_TIMEOUT,
    ROOT,
    environment,
    is_answering,
)

TOKEN = "t" * 32
AUTHORIZED = {"authorization": f"Bearer {TOKEN}"}


@contextmanager
def running(redis_url: str, log: Path, *options: str) -> Iterator[tuple[str, str]]:
    """Yield the URLs of the API and of the admin API of one service."""
    port, admin_port = free_port(), free_port()
    more = {
        "GATEWAY_ADMIN_TOKEN": TOKEN,
        "GATEWAY_ADMIN_PORT": str(admin_port),
        "GATEWAY_SERVICE_METRICS_PORT": "0",
    }
    with log.open("wb") as lines:
        process = subprocess.Popen(
            [*GATEWAY, "serve", *options],
            cwd=ROOT,
            env=environment(redis_url, port, **more),
            stderr=lines,
        )
    api, admin = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{admin_port}"
    try:
        until = time.monotonic() + READY_TIMEOUT
        while not (is_answering(api) and _is_open(admin)):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.05)
        yield api, admin
        process.terminate()
        assert process.wait(READY_TIMEOUT) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()


def _is_open(url: str) -> bool:
    try:
        httpx.get(url, trust_env=False)
    except httpx.TransportError:
        return False
    return True


@pytest.mark.parametrize("options", [(), ("--processes", "2")], ids=["one", "two"])
def test_each_listener_serves_its_own_paths(
    redis_flushed: str, tmp_path: Path, options: tuple[str, ...]
) -> None:
    with (
        running(redis_flushed, tmp_path / "serve.log", *options) as (api, admin),
        httpx.Client(trust_env=False, headers=AUTHORIZED, timeout=READY_TIMEOUT) as caller,
    ):
        for _ in range(4):  # any of the processes may answer
            assert caller.get(f"{admin}/admin/v1/tenants").json() == {"tenants": []}
            assert caller.get(f"{api}/admin/v1/tenants").status_code == 404
            assert caller.get(f"{api}/healthz").status_code == 200
            for path in ("/healthz", "/v1/models", "/docs", "/", "/administrator"):
                answer = caller.get(f"{admin}{path}")
                assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
        made = caller.post(f"{admin}/admin/v1/tenants", json={"tenant": "acme"})
        assert made.status_code == 201
        assert httpx.get(f"{admin}/admin/v1/tenants", trust_env=False).status_code == 401
