"""The examples for nginx and HAProxy as they are in deploy/proxy, in front of a real service."""

import asyncio
import json
import re
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis

from service.settings import ServiceSettings
from tests.integration.http.proxies import (
    HAPROXY,
    HOST,
    NGINX,
    Example,
    client,
    running_proxy,
)
from tests.support.app import KLING_INPUT, KLING_PATH
from tests.support.processes import ROOT, run_gateway, running_service
from tests.support.tls import CertificateAuthority


@pytest.fixture(params=[NGINX, HAPROXY], ids=["nginx", "haproxy"])
def example(request: pytest.FixtureRequest) -> Example:
    """Each example whose program is installed."""
    found: Example = request.param
    if shutil.which(found.program) is None:
        pytest.skip(f"{found.program} is not installed")
    return found


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> CertificateAuthority:
    """A CA, and the certificate of the host as the examples name its files."""
    authority = CertificateAuthority(tmp_path_factory.mktemp("ca"))
    authority.create()
    authority.server(f"DNS:{HOST}", "IP:127.0.0.1")
    return authority


@pytest.fixture
def service(redis_flushed: str, tmp_path: Path) -> Iterator[int]:
    """A service that has seen a worker, and its port."""
    with redis.Redis.from_url(redis_flushed) as admin:
        admin.zadd("gw:workers", {"test:1": int(time.time() * 1000)})
    more = {
        "GATEWAY_WORKER_TIMEOUT": "900",
        "GATEWAY_ADMIN_TOKEN": "t" * 32,
        "GATEWAY_TRUSTED_PROXIES": '["127.0.0.1"]',
    }
    with running_service(redis_flushed, tmp_path / "serve.log", **more) as (_, port):
        yield port


def test_calls_pass_and_operators_paths_do_not(
    example: Example,
    redis_flushed: str,
    service: int,
    tmp_path: Path,
    certificates: CertificateAuthority,
) -> None:
    key = json.loads(run_gateway(redis_flushed, "tenant", "create", "demo", "--json").stdout)["key"]
    with (
        running_proxy(example, tmp_path, certificates, service) as url,
        client(url, certificates, authorization=f"Bearer {key}") as caller,
    ):
        large = {**KLING_INPUT, "prompt": "x" * 1000}
        submitted = caller.post(KLING_PATH, json=large)
        assert submitted.status_code == 202
        assert submitted.json()["status_url"].startswith(f"https://{HOST}/v1/requests/")
        root = f"/v1/requests/{submitted.json()['request_id']}"
        waited = caller.get(f"{root}/result", headers={"prefer": "wait=1"})
        assert (waited.status_code, waited.json()["status"]) == (200, "in_queue")
        with caller.stream("GET", f"{root}/events") as stream:
            # It would hang here if the proxy collected an endless answer.
            assert "event: request.in_queue" in next(stream.iter_text())
        assert caller.get("/metrics").status_code == 404
        refused = caller.get("/admin/v1/tenants", headers={"authorization": f"Bearer {'t' * 32}"})
        assert refused.status_code == 404


@dataclass
class BrokenBackend:
    """Reads each request and closes the connection without an answer; counts the POSTs."""

    port: int = 0
    posts: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        if head.startswith("GET /readyz"):
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        self.posts += head.startswith("POST")
        writer.close()


@asynccontextmanager
async def broken_backend() -> AsyncIterator[BrokenBackend]:
    backend = BrokenBackend()
    async with await asyncio.start_server(backend.serve, "127.0.0.1", 0) as server:
        backend.port = server.sockets[0].getsockname()[1]
        yield backend


async def test_a_submit_is_never_sent_to_a_second_front_end(
    example: Example, tmp_path: Path, certificates: CertificateAuthority
) -> None:
    def post(url: str) -> int:
        with client(url, certificates) as caller:
            return caller.post(KLING_PATH, json=KLING_INPUT).status_code

    async with broken_backend() as first, broken_backend() as second:
        with running_proxy(example, tmp_path, certificates, first.port, second.port) as url:
            statuses = [await asyncio.to_thread(post, url) for _ in range(5)]

    assert statuses == [502] * 5
    # nginx sends none to a server that has just failed: fewer than there were, never more.
    assert 0 < first.posts + second.posts <= 5


def seconds(example: Example, directive: str) -> float:
    """Return the time that the example gives a directive."""
    text = (ROOT / "deploy/proxy" / example.file).read_text()
    values = re.findall(rf"^\s*{directive} (\d+)s;?$", text, re.MULTILINE)
    assert len(values) == 1
    return float(values[0])


@pytest.mark.parametrize(
    ("proxy", "patience", "idle"),
    [
        (NGINX, "proxy_read_timeout", "keepalive_timeout"),
        (HAPROXY, "timeout server", "default-server pool-purge-delay"),
    ],
    ids=["nginx", "haproxy"],
)
def test_times_fit_the_services_own(proxy: Example, patience: str, idle: str) -> None:
    settings = ServiceSettings()
    assert seconds(proxy, patience) > settings.max_wait.total_seconds() + 10
    assert seconds(proxy, patience) > 2 * settings.heartbeat_interval.total_seconds()
    assert seconds(proxy, idle) < settings.keep_alive_timeout.total_seconds()
