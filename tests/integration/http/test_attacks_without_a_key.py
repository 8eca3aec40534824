"""Callers without a valid key cost the service little, and others go on."""

import json
import resource
import socket
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from core.http_server.connections import MALFORMED_PER_SECOND
from core.http_server.file_descriptors import PER_CONNECTION, RESERVED
from core.http_server.listener import (
    RECEIVE_BUFFER,
    UNSENT_BYTES,
    ListenAddress,
    open_listening_socket,
)
from core.tenants.api_keys import build_api_key
from tests.support.app import KLING_PATH
from tests.support.processes import run_gateway, running_service

MIB = 2**20
MAX_GROWTH_MIB = 40
"""What an attack may add to the memory of the service, whatever it sends."""
ATTACKERS, OTHERS = "127.0.0.2", "127.0.0.3"
DESCRIPTORS = 256


@dataclass(frozen=True, slots=True)
class Service:
    """A running service, and the key of a tenant."""

    pid: int
    port: int
    key: str
    log: Path

    def connect(self, address: str = ATTACKERS) -> socket.socket:
        """Open a connection from an address of loopback."""
        return socket.create_connection(
            ("127.0.0.1", self.port), timeout=60, source_address=(address, 0)
        )

    def is_serving_others(self) -> bool:
        """Whether a tenant gets its answer."""
        transport = httpx.HTTPTransport(local_address=OTHERS)
        with httpx.Client(transport=transport, timeout=60) as caller:
            headers = {"authorization": f"Bearer {self.key}"}
            return caller.get(f"http://127.0.0.1:{self.port}/v1/usage", headers=headers).is_success

    def memory_mib(self) -> int:
        """Resident memory."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text("ascii").split()[1])
        return pages * resource.getpagesize() // MIB


@pytest.fixture(scope="module")
def service(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One service for all attacks."""
    folder = tmp_path_factory.mktemp("service")
    log = folder / "log"
    # As its first worker would, unless earlier tests have: else no key could be judged.
    run_gateway(redis_url, "store", "init", GATEWAY_JOURNAL__URL=f"file://{folder}/journal")
    made = run_gateway(redis_url, "tenant", "create", "attacked", "--json")
    with running_service(redis_url, log) as (process, port):
        yield Service(process.pid, port, json.loads(made.stdout)["key"], log)


def head(key: str, path: str = KLING_PATH, more: str = "Transfer-Encoding: chunked") -> bytes:
    lines = (f"POST {path} HTTP/1.1", "Host: a", f"Authorization: Bearer {key}", more)
    return "\r\n".join((*lines, "", "")).encode()


def forged_key() -> str:
    """A key with right check digits that no tenant has."""
    return build_api_key("attacked", bytes(32))


def send_until_cut(connection: socket.socket, piece: bytes, pieces: int) -> int:
    """Send until the service closes the connection; return the bytes that were sent."""
    sent = 0
    with suppress(OSError):
        for _ in range(pieces):
            connection.sendall(piece)
            sent += len(piece)
    return sent


@pytest.mark.parametrize(
    ("start", "piece"),
    [(b"0\r\n", b"X-n: v\r\n" * 8192), (b"0\r\nx-n: ", b"v" * 65536), (b"1;x=", b"v" * 65536)],
    ids=["many-trailers", "one-trailer", "one-chunk-extension"],
)
def test_endless_parts_of_a_chunked_body_are_cut(
    service: Service, start: bytes, piece: bytes
) -> None:
    before = service.memory_mib()
    with closing(service.connect()) as connection:
        connection.sendall(head("x") + start)
        assert send_until_cut(connection, piece, 2000) < 100 * MIB
    assert service.memory_mib() - before < MAX_GROWTH_MIB
    assert service.is_serving_others()


def test_what_the_kernel_keeps_of_a_connection_is_bounded() -> None:
    """Its memory is one for all connections: hundreds that do not read took it from the others."""
    with open_listening_socket(ListenAddress("127.0.0.1", 0, "")) as listening:
        with closing(socket.create_connection(listening.getsockname())):
            accepted, _ = listening.accept()
        with closing(accepted):
            buffer = accepted.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
            unsent = accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT)
    assert buffer <= 2 * RECEIVE_BUFFER  # the kernel doubles it, for its own use
    assert unsent == UNSENT_BYTES


def test_an_address_that_sends_no_requests_is_slowed_and_others_are_not(service: Service) -> None:
    for _ in range(3 * MALFORMED_PER_SECOND):
        with closing(service.connect()) as connection:
            connection.sendall(b"\x16\x03\x01\r\n\r\n")
    with closing(service.connect()) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        assert service.is_serving_others()
        assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")


def test_a_key_in_a_trailer_is_no_key(service: Service) -> None:
    with closing(service.connect()) as connection:
        trailer = f"0\r\nAuthorization: Bearer {service.key}\r\n\r\n"
        request = "GET /v1/usage HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.sendall((request + trailer).encode())
        assert connection.recv(4096).startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize("path", [KLING_PATH, "/v1/batches", "/v1/webhooks/endpoints"])
def test_a_forged_key_gets_no_body_read(service: Service, path: str) -> None:
    before, size = service.memory_mib(), 16 * MIB - 1
    connections = [service.connect() for _ in range(10)]
    for connection in connections:
        connection.sendall(head(forged_key(), path, f"Content-Length: {size}"))
        connection.sendall(b"x" * 65536)
    for connection in connections:
        with closing(connection):
            assert connection.recv(4096).startswith(b"HTTP/1.1 401 ")
            send_until_cut(connection, b"x" * 65536, size // 65536)
    assert service.memory_mib() - before < MAX_GROWTH_MIB
    assert service.is_serving_others()


def test_answers_that_are_not_read_are_no_internal_errors(service: Service) -> None:
    request = f"GET /v1/models HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {service.key}\r\n\r\n"
    for _ in range(10):
        with closing(service.connect()) as connection:
            # Closing with data unread resets the connection while answers are being written.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            connection.sendall(request.encode() * 40)
            connection.recv(1)
    assert service.is_serving_others()
    assert "internal_error" not in service.log.read_text("utf-8")
    assert "Traceback" not in service.log.read_text("utf-8")


def test_more_connections_than_descriptors_keep_no_other_caller_out(
    redis_url: str, service: Service, tmp_path: Path
) -> None:
    settings = {"GATEWAY_MAX_CONNECTIONS": "100"}
    with running_service(redis_url, tmp_path / "log", **settings) as (process, port):
        limited = Service(process.pid, port, service.key, tmp_path / "log")
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
        connections = [limited.connect() for _ in range(2 * DESCRIPTORS)]
        for _ in range(10):
            assert limited.is_serving_others()
        open_files = len(list(Path(f"/proc/{limited.pid}/fd").iterdir()))
        assert open_files < DESCRIPTORS - 50
        for connection in connections:
            connection.close()


def test_answers_from_files_that_nobody_reads_leave_descriptors(
    service: Service, redis_url: str, tmp_path: Path
) -> None:
    """Such a connection keeps a file open too, and the API reference needs no key."""
    wanted = (DESCRIPTORS - RESERVED) // PER_CONNECTION
    settings = {
        "GATEWAY_MAX_CONNECTIONS": str(wanted),
        "GATEWAY_MAX_CONNECTIONS_PER_ADDRESS": str(wanted - 4),
    }
    with running_service(redis_url, tmp_path / "log", **settings) as (process, port):
        limited = Service(process.pid, port, service.key, tmp_path / "log")
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
        connections = [limited.connect() for _ in range(2 * wanted)]
        for connection in connections:
            with suppress(OSError):  # it gave way
                connection.sendall(
                    b"GET /docs/assets/swagger-ui-bundle.js HTTP/1.1\r\nHost: a\r\n\r\n" * 4
                )
        for _ in range(10):
            assert limited.is_serving_others()
        for connection in connections:
            connection.close()
    log = (tmp_path / "log").read_text("utf-8")
    assert "internal_error" not in log
    assert "Too many open files" not in log


def test_few_descriptors_are_reported_at_the_start(redis_url: str, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = str(hard + 1) if hard != resource.RLIM_INFINITY else None
    if wanted is None:
        pytest.skip("this machine does not limit open files")
    with running_service(redis_url, tmp_path / "log", GATEWAY_MAX_CONNECTIONS=wanted):
        lines = (tmp_path / "log").read_text("utf-8")
    assert soft <= hard
    assert "few_file_descriptors" in lines
    assert "GATEWAY_MAX_CONNECTIONS" in lines
