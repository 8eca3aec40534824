"""Failed requests over real sockets: each failure becomes the right answer to the worker.

The server reads each request whole, counts it, and only then misbehaves: what it counted may have
been billed. If an upgrade of an HTTP library changes a row, these tests fail before money is lost.
"""

import asyncio
import contextlib
import socket
import struct
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

import aiohttp
import httpx
import pytest
from httpx_aiohttp import AiohttpTransport
from pydantic import SecretStr

from core.clock import SystemClock
from core.observability.events import Event
from worker.ports import (
    Accepted,
    Finished,
    Indeterminate,
    InProgress,
    NotSent,
    RunCompleted,
    Unreachable,
)
from worker.tls import create_tls_context
from worker.upstream.client import RunComfyClient
from worker.upstream.config import UpstreamAccess, UpstreamLimits
from worker.upstream.deadline import LATE
from worker.upstream.error_classification import UnsafeMethod
from worker.upstream.http_client import open_http_client
from worker.upstream.http_request import HttpRequest
from worker.upstream.transports import EgressRoute, open_poster, open_reader

Behaviour = Callable[[asyncio.StreamWriter], Awaitable[None]]

BRIEF: Final = UpstreamLimits(
    connect_timeout=timedelta(seconds=0.3),
    read_timeout=timedelta(seconds=0.3),
    read_deadline=timedelta(seconds=0.6),
    submit_deadline=timedelta(seconds=2),
    max_response_bytes=1000,
)


@dataclass
class RawUpstream:
    """A raw server. `behave` runs after it has read a request whole."""

    behavior: Behaviour
    port: int = 0
    connections: int = 0
    requests: list[bytes] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                self.requests.append(await _request(reader))
                self.arrived.set()
                await self.behavior(writer)
                if writer.is_closing():
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


async def _request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = 0
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            length = int(line.partition(b":")[2])
    return head + await reader.readexactly(length)


FROZEN: Final = BRIEF.submit_deadline + LATE + timedelta(seconds=0.5)


def _answer_once(server: socket.socket) -> None:
    connection, _ = server.accept()
    with connection:
        connection.recv(65536)
        time.sleep(BRIEF.submit_deadline.total_seconds())
        connection.sendall(TAKEN)


@contextlib.asynccontextmanager
async def _upstream(behave: Behaviour) -> AsyncIterator[RawUpstream]:
    upstream = RawUpstream(behave)
    handlers: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handlers.add(asyncio.ensure_future(upstream.serve(reader, writer)))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    upstream.port = server.sockets[0].getsockname()[1]
    try:
        yield upstream
    finally:
        server.close()
        for handler in handlers:
            handler.cancel()
        await asyncio.gather(*handlers, return_exceptions=True)


@contextlib.asynccontextmanager
async def _client(
    url: str, limits: UpstreamLimits = BRIEF, events: list[Event] | None = None
) -> AsyncIterator[RunComfyClient]:
    access = UpstreamAccess(url, SecretStr("tok-5ecret"))
    told = [] if events is None else events
    async with open_http_client(
        access, limits, EgressRoute(create_tls_context()), SystemClock(), told.append
    ) as line:
        yield RunComfyClient(line, limits)


def _answer_with(raw: bytes, *, then_close: bool = False) -> Behaviour:
    async def behave(writer: asyncio.StreamWriter) -> None:
        writer.write(raw)
        await writer.drain()
        if then_close:
            writer.close()

    return behave


def _http(body: bytes, *headers: bytes, status: bytes = b"200 OK") -> bytes:
    length = b"Content-Length: %d" % len(body)
    return b"\r\n".join([b"HTTP/1.1 " + status, length, *headers, b"", body])


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()


async def _reset(writer: asyncio.StreamWriter) -> None:
    connection: socket.socket = writer.get_extra_info("socket")
    # Lingering for 0 s turns the close into a reset.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _hang(_: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def _answer_slowly(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.05)


HALF_A_BODY: Final = b'HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n{"request_id": "r-'
WHOLE_ID_CUT_AFTER: Final = (
    b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n15\r\n{"request_id": "r-1"}\r\n'
)
TAKEN: Final = _http(b'{"request_id": "r-1"}')

AFTER_IT_ARRIVED: Final[dict[str, tuple[Behaviour, str, int | None]]] = {
    "closes": (_close, "protocol_error", None),
    "resets": (_reset, "reset", None),
    "hangs": (_hang, "deadline", None),
    "half a head": (
        _answer_with(b"HTTP/1.1 200 OK\r\nCont", then_close=True),
        "protocol_error",
        None,
    ),
    "half a body": (_answer_with(HALF_A_BODY, then_close=True), "protocol_error", 200),
    "half a body, then silence": (_answer_with(HALF_A_BODY), "deadline", 200),
    "drips": (_answer_slowly, "deadline", 200),
    "garbage": (
        _answer_with(b"\x00\xff\x00 garbage\r\n\r\n", then_close=True),
        "protocol_error",
        None,
    ),
    "garbled length": (
        _answer_with(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n{}", then_close=True),
        "protocol_error",
        None,
    ),
    "not gzip": (_answer_with(_http(b"{}", b"Content-Encoding: gzip")), "protocol_error", 200),
    "too much": (_answer_with(_http(b" " * 2000)), "oversized", 200),
    "no content": (_answer_with(b"HTTP/1.1 204 No Content\r\n\r\n"), "not_json", 204),
    "redirects": (_answer_with(_http(b"", b"Location: /v1", status=b"302 Found")), "redirect", 302),
    "502": (_answer_with(_http(b"", status=b"502 Bad Gateway")), "http_5xx", 502),
}


@pytest.mark.parametrize("name", AFTER_IT_ARRIVED)
async def test_a_submit_that_arrived_is_in_doubt_and_is_not_repeated(name: str) -> None:
    behave, kind, status = AFTER_IT_ARRIVED[name]
    async with _upstream(behave) as upstream, _client(upstream.url) as client:
        answer = await client.submit("m", b'{"prompt": "x"}')

        assert isinstance(answer, Indeterminate)
        assert (answer.fault.kind, answer.fault.http_status) == (kind, status)
        assert len(upstream.requests) == 1


async def test_an_id_that_arrived_whole_is_kept_though_the_end_is_missing() -> None:
    async with (
        _upstream(_answer_with(WHOLE_ID_CUT_AFTER, then_close=True)) as upstream,
        _client(upstream.url) as client,
    ):
        assert await client.submit("m", b"{}") == Accepted("r-1")


async def test_a_refused_connection_is_not_sent() -> None:
    async with _upstream(_close) as upstream:
        pass
    async with _client(upstream.url) as client:
        answer = await client.submit("m", b"{}")

    assert isinstance(answer, NotSent)
    assert answer.fault.kind == "connect_error"


async def test_no_tls_session_is_not_sent() -> None:
    async with (
        _upstream(_close) as upstream,
        _client(f"https://127.0.0.1:{upstream.port}") as client,
    ):
        # The server waits for the end of a request, and so never answers the handshake.
        answer = await client.submit("m", b"{}")

        assert isinstance(answer, NotSent)
        assert answer.fault.kind == "connect_timeout"
        assert upstream.requests == []


async def test_a_wait_for_a_free_connection_is_not_sent() -> None:
    limits = UpstreamLimits(max_submit_connections=1, connect_timeout=timedelta(seconds=0.1))
    async with _upstream(_hang) as upstream, _client(upstream.url, limits) as client:
        first = asyncio.ensure_future(client.submit("m", b"{}"))
        await upstream.arrived.wait()
        answer = await client.submit("m", b"{}")
        first.cancel()

        assert isinstance(answer, NotSent)
        assert answer.fault.kind == "pool_timeout"
        assert len(upstream.requests) == 1
        with pytest.raises(asyncio.CancelledError):
            await first


async def test_a_head_we_cannot_write_is_refused_before_a_byte_leaves() -> None:
    async with (
        _upstream(_answer_with(TAKEN)) as upstream,
        open_poster(BRIEF, EgressRoute(create_tls_context())) as poster,
    ):
        reply = await poster.send_request(
            HttpRequest("POST", upstream.url, {"X": "a\r\nb"}, timedelta(seconds=5), 100, b"{}"),
            datetime.now(UTC),
        )

        assert isinstance(reply.error, httpx.LocalProtocolError)
        assert upstream.requests == []


async def test_each_submit_has_a_connection_of_its_own_and_no_cookie() -> None:
    kept_alive = _answer_with(_http(b'{"request_id": "r-1"}', b"Set-Cookie: edge=1; Path=/"))
    async with _upstream(kept_alive) as upstream, _client(upstream.url) as client:
        for _ in range(3):
            assert await client.submit("m", b"{}") == Accepted("r-1")

        assert (upstream.connections, len(upstream.requests)) == (3, 3)
        assert not any(b"cookie" in request.lower() for request in upstream.requests)


async def test_proxies_of_the_environment_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with _upstream(_answer_with(TAKEN)) as upstream, _client(upstream.url) as client:
        assert await client.submit("m", b"{}") == Accepted("r-1")
        assert isinstance(await client.get_status("r-1"), Unreachable)

        assert len(upstream.requests) == 2


async def test_an_answer_that_arrived_while_the_process_was_frozen_is_read() -> None:
    """The deadline had passed long before, and its timer comes before the socket is read."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        answering = threading.Thread(target=_answer_once, args=(server,))
        answering.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        async with _client(url) as client:
            submitting = asyncio.create_task(client.submit("m", b"{}"))
            await asyncio.sleep(0.2)
            # As SIGSTOP does: nothing runs, and the answer arrives meanwhile.
            time.sleep(FROZEN.total_seconds())  # noqa: ASYNC251 - to block is the point
            assert await submitting == Accepted("r-1")
        answering.join()


READ_FAILURES: Final[dict[str, tuple[Behaviour, str]]] = {
    "closes": (_close, "reset"),
    "resets": (_reset, "reset"),
    "hangs": (_hang, "read_timeout"),
    "half a body": (_answer_with(HALF_A_BODY, then_close=True), "protocol_error"),
    "drips": (_answer_slowly, "deadline"),
    "garbage": (_answer_with(b"\x00 garbage\r\n\r\n", then_close=True), "protocol_error"),
    "too much": (_answer_with(_http(b" " * 2000)), "oversized"),
    "redirects": (_answer_with(_http(b"", b"Location: /v1", status=b"302 Found")), "redirect"),
}


@pytest.mark.parametrize("name", READ_FAILURES)
async def test_a_failed_read_is_unreachable_by_its_right_name(name: str) -> None:
    behave, kind = READ_FAILURES[name]
    async with _upstream(behave) as upstream, _client(upstream.url) as client:
        answer = await client.get_status("r-1")

        assert isinstance(answer, Unreachable)
        assert answer.fault.kind == kind


async def test_a_read_from_a_closed_port_is_a_connect_error() -> None:
    async with _upstream(_close) as upstream:
        pass
    async with _client(upstream.url) as client:
        answer = await client.get_status("r-1")

    assert isinstance(answer, Unreachable)
    assert answer.fault.kind == "connect_error"


async def test_reads_keep_their_connection_and_hold_no_cookie() -> None:
    # By name: cookie jars ignore bare addresses.
    events: list[Event] = []
    ended = b'{"status": "completed", "output": {"video": "u"}}'
    kept_alive = _answer_with(_http(ended, b"Set-Cookie: edge=1; Path=/"))
    async with (
        _upstream(kept_alive) as upstream,
        _client(f"http://localhost:{upstream.port}", events=events) as client,
    ):
        assert await client.get_status("r-1") == Finished("completed")
        assert isinstance(await client.get_result("r-1"), RunCompleted)

        assert (upstream.connections, len(upstream.requests), len(events)) == (1, 2, 2)
        assert upstream.requests[1].startswith(b"GET /v1/requests/r-1/result?include_cost=true ")
        assert not any(b"cookie" in request.lower() for request in upstream.requests)


async def test_a_read_survives_a_connection_closed_between_calls() -> None:
    running = _answer_with(_http(b'{"status": "running"}'), then_close=True)
    async with _upstream(running) as upstream, _client(upstream.url) as client:
        for _ in range(3):
            assert isinstance(await client.get_status("r-1"), InProgress)


@pytest.mark.parametrize("behave", [_close, _reset])
async def test_the_transport_of_the_reads_would_call_an_arrived_post_not_sent(
    behave: Behaviour,
) -> None:
    """The reason not to submit through it. If this test fails, the library has fixed that."""
    async with (
        _upstream(behave) as upstream,
        aiohttp.ClientSession() as session,
        httpx.AsyncClient(transport=AiohttpTransport(client=session)) as naive,
    ):
        with pytest.raises(httpx.ConnectTimeout):
            await naive.post(f"{upstream.url}/v1/models/m", content=b"{}")

        assert len(upstream.requests) == 1


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_the_reads_client_refuses_every_other_verb(method: str) -> None:
    async with (
        _upstream(_answer_with(TAKEN)) as upstream,
        open_reader(BRIEF, EgressRoute(create_tls_context())) as fetcher,
    ):
        url, second = f"{upstream.url}/v1/models/m", timedelta(seconds=1)
        reply = await fetcher.send_request(
            HttpRequest(method, url, {}, second, 1000, b"{}"), datetime.now(UTC)
        )
        assert isinstance(reply.error, UnsafeMethod)

        assert upstream.connections == 0
