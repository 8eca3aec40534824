"""Reads of private sources over real sockets: what a server may do, and where it may lead."""

import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from typing import Final

import pytest

from core.private_sources import PrivateSources
from core.webhooks.url_policy import Address
from simulator.private_redis import LOOPBACK
from tests.support.hostile_receiver import BEHAVIORS, hostile_receiver
from tests.support.media import png
from tests.support.tls import CertificateAuthority
from worker.ports import SourceFailed
from worker.sources.source_client import (
    SourceClient,
    SourcePolicy,
    open_source_client,
)

MAX_BYTES: Final = 200_000
SHORT: Final = timedelta(seconds=2)


class _Server(ThreadingHTTPServer):
    """Serves `/files/`; `redirects` maps paths to locations."""

    daemon_threads = True
    redirects: dict[str, str]
    requested: list[tuple[str, dict[str, str]]]


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        self.server.requested.append((self.path, {k.lower(): v for k, v in self.headers.items()}))
        path = self.path.partition("?")[0]
        if path in self.server.redirects:
            self.send_response(302)
            self.send_header("location", self.server.redirects[path])
            self.end_headers()
        elif path.startswith("/files/status/"):
            self.send_response(int(path.rpartition("/")[2]))
            self.end_headers()
        elif path == "/files/announces-much":
            self.send_response(200)
            self.send_header("content-length", str(10**12))
            self.end_headers()
        else:
            self._send_content(path)

    def _send_content(self, path: str) -> None:
        size = len(png()) if path != "/files/sends-much" else MAX_BYTES + 1
        self.send_response(200)
        if path == "/files/breaks-off":
            self.send_header("content-length", str(size + 1))
        self.end_headers()
        with suppress(OSError):
            self.wfile.write(png().ljust(size, b"\0"))

    def log_message(self, *_: object) -> None:
        """Write nothing."""


@pytest.fixture
def server() -> Iterator[_Server]:
    with _Server((LOOPBACK, 0), _Handler) as server:
        server.redirects, server.requested = {}, []
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


class Names:
    """A resolver with these names."""

    def __init__(self, **addresses: Sequence[str]) -> None:
        self.addresses = addresses

    async def resolve(self, host: str) -> tuple[Address, ...]:
        found = self.addresses.get(host.partition(".")[0], ())
        return tuple(ip_address(each) for each in found)


def base_of(server: ThreadingHTTPServer) -> str:
    return f"http://{LOOPBACK}:{server.server_port}"


@asynccontextmanager
async def client(
    *entries: str, names: Names | None = None, total: timedelta = timedelta(seconds=60)
) -> AsyncIterator[SourceClient]:
    policy = SourcePolicy(PrivateSources.parse(entries), total, max_bytes=MAX_BYTES)
    async with open_source_client(policy, names or Names()) as source:
        yield source


async def read(source: SourceClient, url: str) -> bytes:
    async with source.open(url) as chunks:
        return b"".join([chunk async for chunk in chunks])


async def failure_of(source: SourceClient, url: str) -> SourceFailed:
    with pytest.raises(SourceFailed) as raised:
        await read(source, url)
    return raised.value


async def test_the_content_is_read_with_nothing_but_the_request(server: _Server) -> None:
    base = base_of(server)
    async with client(f"{base}/files/") as source:
        assert await read(source, f"{base}/files/a.png?signature=1") == png()
    ((path, headers),) = server.requested
    assert path == "/files/a.png?signature=1"
    assert headers == {
        "host": f"{LOOPBACK}:{server.server_port}",
        "user-agent": "runcomfy-gateway",
        "accept": "*/*",
        "accept-encoding": "identity",
    }


async def test_a_redirect_within_the_list_is_followed(server: _Server) -> None:
    base = base_of(server)
    server.redirects["/files/old.png"] = "new/a.png"
    async with client(f"{base}/files/") as source:
        assert await read(source, f"{base}/files/old.png") == png()


@pytest.mark.parametrize(
    "location",
    [
        "/secret.png",
        "../secret.png",
        "/files/%2e%2e/secret.png",
        "http://127.0.0.2/files/a.png",
        "http://169.254.169.254/latest/meta-data",
        "https://example.com/a.png",
        "file:///etc/passwd",
        "",
    ],
)
async def test_a_redirect_that_leaves_the_list_is_refused(server: _Server, location: str) -> None:
    base = base_of(server)
    server.redirects["/files/a.png"] = location
    async with client(f"{base}/files/") as source:
        failure = await failure_of(source, f"{base}/files/a.png")
    assert failure.is_final
    assert failure.message.startswith(f"{base}/files/a.png ")
    assert {path for path, _ in server.requested} == {"/files/a.png"}


async def test_redirects_end(server: _Server) -> None:
    base = base_of(server)
    server.redirects |= {f"/files/{n}": f"/files/{n + 1}" for n in range(9)}
    async with client(f"{base}/files/") as source:
        assert "redirects too often" in (await failure_of(source, f"{base}/files/0")).message
    assert len(server.requested) == 4


@pytest.mark.parametrize(
    ("path", "is_final"),
    [
        ("status/404", True),
        ("status/403", True),
        ("status/206", True),
        ("status/500", False),
        ("status/503", False),
        ("status/429", False),
        ("announces-much", True),
        ("sends-much", True),
        ("breaks-off", False),
    ],
)
async def test_an_answer_that_is_no_content(server: _Server, path: str, *, is_final: bool) -> None:
    base = base_of(server)
    async with client(f"{base}/files/") as source:
        failure = await failure_of(source, f"{base}/files/{path}?signature=secret")
    assert failure.is_final is is_final
    assert failure.message.startswith(f"{base}/files/{path}")
    assert "secret" not in failure.message


async def test_an_address_that_is_not_on_the_list_is_not_called(server: _Server) -> None:
    base = base_of(server)
    async with client(f"{base}/files/") as source:
        assert (await failure_of(source, f"{base}/a.png")).is_final
    assert server.requested == []


@pytest.mark.parametrize(
    ("addresses", "is_final"),
    [(("169.254.169.254",), True), ((LOOPBACK, "169.254.169.254"), True), ((), False)],
    ids=["metadata", "one of two", "unresolved"],
)
async def test_a_listed_name_leads_to_no_forbidden_address(
    server: _Server, addresses: tuple[str, ...], *, is_final: bool
) -> None:
    base = f"http://assets.corp:{server.server_port}/"
    async with client(base, names=Names(assets=addresses)) as source:
        assert (await failure_of(source, f"{base}a.png")).is_final is is_final
    assert server.requested == []


async def test_a_listed_name_is_called_at_its_address(server: _Server) -> None:
    base = f"http://assets.corp:{server.server_port}/"
    async with client(base, names=Names(assets=[LOOPBACK])) as source:
        assert await read(source, f"{base}a.png") == png()
    assert server.requested[0][1]["host"] == f"assets.corp:{server.server_port}"


async def test_a_server_that_is_not_there_is_away() -> None:
    async with client(f"http://{LOOPBACK}:1/") as source:
        assert not (await failure_of(source, f"http://{LOOPBACK}:1/a.png")).is_final


async def test_a_certificate_of_a_company_is_trusted_by_a_setting(
    server: _Server, authority: CertificateAuthority
) -> None:
    context = authority.server("DNS:assets.corp")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    base = f"https://assets.corp:{server.server_port}/"
    names = Names(assets=[LOOPBACK])
    async with client(base, names=names) as source:
        failure = await failure_of(source, f"{base}a.png")
    assert (failure.is_final, "TLS" in failure.message) == (True, True)
    policy = SourcePolicy(PrivateSources.parse([base]), ca_file=authority.folder / "ca.pem")
    async with open_source_client(policy, names) as source:
        assert await read(source, f"{base}a.png") == png()


@pytest.fixture(scope="module")
def hostile() -> Iterator[str]:
    """The URL of servers that misbehave, each in its folder."""
    with hostile_receiver() as port:
        yield f"http://{LOOPBACK}:{port}/"


@pytest.mark.parametrize("behavior", BEHAVIORS)
async def test_a_hostile_server_is_bounded(hostile: str, behavior: str) -> None:
    async with client(hostile, total=SHORT) as source:
        with suppress(SourceFailed):
            content = await read(source, f"{hostile}{behavior.replace(' ', '_')}")
            assert len(content) <= MAX_BYTES
