"""A request's head is bounded in size and time; its body is not the protocol's affair."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
import uvicorn
from uvicorn.server import ServerState

from service.server.http_protocol import HEAD_TIME, MOST_HEAD, BoundedHttp

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send


class Wire(asyncio.Transport):
    """A connection that keeps what is written."""

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
        """Nothing to pause."""

    def resume_reading(self) -> None:
        """Nothing to resume."""


async def no_content(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers 204 to everything."""
    assert (scope["type"], callable(receive)) == ("http", True)
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


@pytest.fixture
async def wire() -> Wire:
    """A connection; its protocol is `wire.protocol`."""
    return Wire()


@pytest.fixture
async def protocol(wire: Wire) -> BoundedHttp:
    """A server's side of `wire`."""
    config = uvicorn.Config(no_content, http=BoundedHttp, log_config=None, lifespan="off")
    config.load()
    made = BoundedHttp(config=config, server_state=ServerState(), app_state={})
    made.connection_made(wire)
    return made


async def turns() -> None:
    """Let the answer come."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_usual_request_is_served_and_the_next_one_too(
    protocol: BoundedHttp, wire: Wire
) -> None:
    for _ in range(3):
        protocol.data_received(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        await turns()
    assert wire.written.count(b"HTTP/1.1 204") == 3
    assert not wire.closed
    protocol.connection_lost(None)


async def test_many_requests_on_one_connection_do_not_add_up(
    protocol: BoundedHttp, wire: Wire
) -> None:
    request = b"GET / HTTP/1.1\r\nhost: a\r\nx-pad: " + b"x" * 1000 + b"\r\n\r\n"
    for _ in range(2 * MOST_HEAD // len(request)):
        protocol.data_received(request)
        await turns()
    assert not wire.closed
    protocol.connection_lost(None)


async def test_a_large_body_is_no_large_head(protocol: BoundedHttp, wire: Wire) -> None:
    size = 4 * MOST_HEAD
    protocol.data_received(f"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {size}\r\n\r\n".encode())
    for _ in range(4):
        protocol.data_received(b"x" * MOST_HEAD)
    await turns()
    assert wire.written.startswith(b"HTTP/1.1 204")
    protocol.connection_lost(None)


@pytest.mark.parametrize("start", [b"GET /", b"GET / HTTP/1.1\r\nx-pad: ", b"\r\n"])
async def test_an_endless_head_is_refused(protocol: BoundedHttp, wire: Wire, start: bytes) -> None:
    protocol.data_received(start)
    for _ in range(MOST_HEAD // 1000 + 2):
        if not wire.closed:
            protocol.data_received(b"x" * 1000)
    assert wire.closed
    assert wire.written.startswith(b"HTTP/1.1 400")


async def test_many_small_headers_are_refused_too(protocol: BoundedHttp, wire: Wire) -> None:
    protocol.data_received(b"GET / HTTP/1.1\r\n")
    for _ in range(MOST_HEAD):
        if wire.closed:
            break
        protocol.data_received(b"a: b\r\n")
    assert wire.closed


def due_in(protocol: BoundedHttp) -> float | None:
    """After how long the connection would be closed."""
    timer = protocol._timer
    return None if timer is None else timer.when() - asyncio.get_running_loop().time()


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nhost: a\r\n"])
async def test_a_head_has_its_time(protocol: BoundedHttp, sent: bytes) -> None:
    if sent:
        protocol.data_received(sent)
    left = due_in(protocol)
    assert left is not None
    assert 0 < left <= HEAD_TIME.total_seconds()
    protocol.connection_lost(None)
    assert due_in(protocol) is None


async def test_an_answered_connection_is_uvicorn_s_to_keep(protocol: BoundedHttp) -> None:
    protocol.data_received(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    await turns()
    assert due_in(protocol) is None
    protocol.connection_lost(None)


async def test_when_its_time_is_over_the_connection_is_closed(
    protocol: BoundedHttp, wire: Wire
) -> None:
    timer = protocol._timer
    assert timer is not None
    timer._run()
    assert wire.closed
