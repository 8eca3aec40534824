"""The examples for nginx and HAProxy as they are in deploy/proxy, in front of a real service."""

import asyncio
import json
import re
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
import pytest
import redis

from service.settings import ServiceSettings
from tests.support.app import KLING_INPUT, KLING_PATH
from tests.support.processes import ROOT, free_port, run_gateway, running_service
from tests.support.tls import CertificateAuthority

HOST: Final = "gateway.example.com"
READY_TIMEOUT: Final = 60.0


@dataclass(frozen=True)
class Example:
    """One of the examples: its file, its program, and where in it the backends are."""

    file: str
    program: str
    options: tuple[str, ...]
    backend: Callable[[int, int], str]

    def written(self, folder: Path, port: int, backends: tuple[int, ...]) -> Path:
        """Return the example with this port, these backends and the folder's certificate."""
        text = (ROOT / "deploy/proxy" / self.file).read_text()
        pattern = re.escape(self.backend(0, 8000))
        lines = "\n".join(self.backend(index, each) for index, each in enumerate(backends))
        text, count = re.subn(pattern, lines, text)
        assert count == 1
        for before, after in (
            ("listen 80;", f"listen 127.0.0.1:{free_port()};"),
            ("listen 443 ", f"listen 127.0.0.1:{port} "),
            ("bind :80", f"bind 127.0.0.1:{free_port()}"),
            ("bind :443 ", f"bind 127.0.0.1:{port} "),
            ("/run/nginx.pid", str(folder / "nginx.pid")),
            ("/dev/stderr", str(folder / "error.log")),
            ("/dev/stdout", str(folder / "access.log")),
            ("/etc/nginx/", f"{folder}/"),
            ("/etc/haproxy/", f"{folder}/"),
        ):
            text = text.replace(before, after)
        path = folder / self.file
        path.write_text(text)
        return path


NGINX: Final = Example(
    "nginx.conf",
    "nginx",
    ("-g", "daemon off;", "-c"),
    lambda _, port: f"server 127.0.0.1:{port};",
)
HAPROXY: Final = Example(
    "haproxy.cfg",
    "haproxy",
    ("-db", "-f"),
    lambda index, port: f"    server service-{index + 1} 127.0.0.1:{port} check",
)


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


@contextmanager
def running_proxy(
    example: Example, folder: Path, certificates: CertificateAuthority, *backends: int
) -> Iterator[str]:
    """Run the example in front of the backends, and yield its URL."""
    stem = certificates.folder / f"DNS_{HOST}-IP_127.0.0.1"
    certificate, key = stem.with_name(stem.name + ".pem"), stem.with_name(stem.name + ".key")
    chain = certificate.read_text() + (key.read_text() if example is HAPROXY else "")
    (folder / "gateway.pem").write_text(chain)
    (folder / "gateway.key").write_text(key.read_text())
    port = free_port()
    config = example.written(folder, port, backends)
    log = folder / "proxy.log"
    with log.open("wb") as lines:
        process = subprocess.Popen(
            [example.program, *example.options, str(config)], stdout=lines, stderr=lines
        )
    try:
        until = time.monotonic() + READY_TIMEOUT
        while not _is_listening(port):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.05)
        yield f"https://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(READY_TIMEOUT)


def _is_listening(port: int) -> bool:
    try:
        httpx.get(f"http://127.0.0.1:{port}", trust_env=False)
    except httpx.ConnectError:
        return False
    except httpx.HTTPError:
        return True
    return True


@contextmanager
def client(url: str, certificates: CertificateAuthority, **headers: str) -> Iterator[httpx.Client]:
    with httpx.Client(
        base_url=url,
        headers={"host": HOST, **headers},
        verify=certificates.trusted(),
        trust_env=False,
        timeout=READY_TIMEOUT,
    ) as caller:
        yield caller


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
