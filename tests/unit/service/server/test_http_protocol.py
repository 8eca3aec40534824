"""The head of a request is bounded in size and time."""

import asyncio

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from service.server.http_protocol import HEAD_TIMEOUT, MAX_HEAD_BYTES, BoundedHttpProtocol


class RecordingTransport(asyncio.Transport):
    """A transport that records what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        """Do nothing."""

    def resume_reading(self) -> None:
        """Do nothing."""


async def no_content(scope: Scope, receive: Receive, send: Send) -> None:
    """An app that answers 204 to every request."""
    assert (scope["type"], callable(receive)) == ("http", True)
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


@pytest.fixture
async def transport() -> RecordingTransport:
    """A transport; its protocol is `wire.protocol`."""
    return RecordingTransport()


@pytest.fixture
async def protocol(transport: RecordingTransport) -> BoundedHttpProtocol:
    """The server's protocol on `wire`."""
    config = uvicorn.Config(no_content, http=BoundedHttpProtocol, log_config=None, lifespan="off")
    config.load()
    made = BoundedHttpProtocol(config=config, server_state=ServerState(), app_state={})
    made.connection_made(transport)
    return made


async def run_ready_callbacks() -> None:
    """Run what the event loop has ready."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_usual_request_is_served_and_the_next_one_too(
    protocol: BoundedHttpProtocol, transport: RecordingTransport
) -> None:
    for _ in range(3):
        protocol.data_received(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        await run_ready_callbacks()
    assert transport.written.count(b"HTTP/1.1 204") == 3
    assert not transport.closed
    protocol.connection_lost(None)


async def test_many_requests_on_one_connection_do_not_add_up(
    protocol: BoundedHttpProtocol, transport: RecordingTransport
) -> None:
    request = b"GET / HTTP/1.1\r\nhost: a\r\nx-pad: " + b"x" * 1000 + b"\r\n\r\n"
    for _ in range(2 * MAX_HEAD_BYTES // len(request)):
        protocol.data_received(request)
        await run_ready_callbacks()
    assert not transport.closed
    protocol.connection_lost(None)


async def test_a_large_body_is_no_large_head(
    protocol: BoundedHttpProtocol, transport: RecordingTransport
) -> None:
    size = 4 * MAX_HEAD_BYTES
    protocol.data_received(f"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {size}\r\n\r\n".encode())
    for _ in range(4):
        protocol.data_received(b"x" * MAX_HEAD_BYTES)
    await run_ready_callbacks()
    assert transport.written.startswith(b"HTTP/1.1 204")
    protocol.connection_lost(None)


@pytest.mark.parametrize("start", [b"GET /", b"GET / HTTP/1.1\r\nx-pad: ", b"\r\n"])
async def test_an_endless_head_is_refused(
    protocol: BoundedHttpProtocol, transport: RecordingTransport, start: bytes
) -> None:
    protocol.data_received(start)
    for _ in range(MAX_HEAD_BYTES // 1000 + 2):
        if not transport.closed:
            protocol.data_received(b"x" * 1000)
    assert transport.closed
    assert transport.written.startswith(b"HTTP/1.1 400")


async def test_many_small_headers_are_refused_too(
    protocol: BoundedHttpProtocol, transport: RecordingTransport
) -> None:
    protocol.data_received(b"GET / HTTP/1.1\r\n")
    for _ in range(MAX_HEAD_BYTES):
        if transport.closed:
            break
        protocol.data_received(b"a: b\r\n")
    assert transport.closed


def seconds_until_close(protocol: BoundedHttpProtocol) -> float | None:
    """The seconds until the connection would be closed."""
    timer = protocol._head_timer
    return None if timer is None else timer.when() - asyncio.get_running_loop().time()


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nhost: a\r\n"])
async def test_a_head_has_its_time(protocol: BoundedHttpProtocol, sent: bytes) -> None:
    if sent:
        protocol.data_received(sent)
    left = seconds_until_close(protocol)
    assert left is not None
    assert 0 < left <= HEAD_TIMEOUT.total_seconds()
    protocol.connection_lost(None)
    assert seconds_until_close(protocol) is None


async def test_an_answered_connection_is_uvicorn_s_to_keep(protocol: BoundedHttpProtocol) -> None:
    protocol.data_received(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    await run_ready_callbacks()
    assert seconds_until_close(protocol) is None
    protocol.connection_lost(None)


async def test_when_its_time_is_over_the_connection_is_closed(
    protocol: BoundedHttpProtocol, transport: RecordingTransport
) -> None:
    timer = protocol._head_timer
    assert timer is not None
    timer._run()
    assert transport.closed
