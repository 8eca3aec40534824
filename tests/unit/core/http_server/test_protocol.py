"""Every state of a connection is bounded in bytes and in time."""

import asyncio
import json
import socket
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from itertools import pairwise
from typing import Any
from unittest.mock import patch

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from core.http_server.connections import (
    ANSWER_PART,
    BODY_BURST,
    BODY_BYTES_PER_SECOND,
    CHECK_PARTS,
    LARGE_BODY,
    MALFORMED_DELAY,
    MALFORMED_PER_SECOND,
    MAX_READING_DELAY,
    ConnectionPolicy,
    Connections,
)
from core.http_server.endings import ENDINGS_PER_TURN
from core.http_server.flow import HeldFlow
from core.http_server.protocol import (
    BODY_GRACE,
    BODY_IS_COMPLETE,
    BODY_TIMEOUT,
    DISCARD_PAUSE,
    ENDED_TIMEOUT,
    FREE_CHUNKS,
    MAX_EMPTY_READS,
    MAX_FIELDS,
    MAX_HEAD_BYTES,
    MAX_PIPELINED,
    MAX_WAITING_READ,
    MIN_CHUNK_BYTES,
    BoundedHttpProtocol,
)
from core.http_server.turns import ALONE_AFTER, ALONE_PER_TURN, PER_TURN, Turns
from service.http.json_response import json_bytes_response

POLICY = ConnectionPolicy(
    max_connections=2,
    max_per_address=2,
    keep_alive_timeout=timedelta(seconds=75),
    body_timeout=timedelta(seconds=30),
)
SECOND = timedelta(seconds=1)
GET = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"


class RecordingTransport(asyncio.Transport):
    """A connection that keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.unsent = 0
        self.closed = False
        self.aborted = False
        self.paused = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.closed
        self.written += bytes(data)

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = self.aborted = True

    def is_closing(self) -> bool:
        return self.closed

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    @property
    def answers(self) -> list[bytes]:
        """The status lines of the answers."""
        return [line for line in self.written.split(b"\r\n") if line.startswith(b"HTTP/1.1")]


class Application:
    """Answers 204 once `ready` is set; keeps what it was called with."""

    def __init__(self) -> None:
        self.ready = asyncio.Event()
        self.ready.set()
        self.reads_body = True
        self.scopes: list[Scope] = []
        self.messages: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        await self.ready.wait()
        more = self.reads_body
        while more:
            message = await receive()
            self.messages.append(message["type"])
            more = message.get("more_body", False)
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})


class Listener:
    """A listener without sockets; its clock is moved by `pass_time`."""

    def __init__(self) -> None:
        self.application = Application()
        self.connections = Connections(POLICY)
        self._config = uvicorn.Config(
            self.application, log_config=None, lifespan="off", loop="asyncio", timeout_keep_alive=75
        )
        self._config.load()

    def connect(self, address: str = "192.0.2.1") -> tuple[BoundedHttpProtocol, RecordingTransport]:
        """Open a connection."""
        transport = RecordingTransport()
        made = BoundedHttpProtocol(
            self.connections, config=self._config, server_state=ServerState(), app_state={}
        )
        transport.get_extra_info = partial(  # type: ignore[method-assign]  # an address
            lambda name, default=None: (address, 1) if name == "peername" else default
        )
        made.connection_made(transport)
        transport.paused = False  # uvloop begins to read then, whatever the protocol wants
        return made, transport

    async def pass_time(self, span: timedelta, windows: int = 1) -> None:
        """Check the deadlines as after `span`, and let end what is to end."""
        now = asyncio.get_running_loop().time()
        for window in range(1, windows + 1):
            for part in range(CHECK_PARTS):
                self.connections.close_overdue(now + window * span.total_seconds(), part)
            await run_ready_callbacks()


@pytest.fixture
async def listener() -> Listener:
    return Listener()


@pytest.fixture
async def connection(listener: Listener) -> tuple[BoundedHttpProtocol, RecordingTransport]:
    return listener.connect()


@pytest.fixture
def protocol(connection: tuple[BoundedHttpProtocol, RecordingTransport]) -> BoundedHttpProtocol:
    return connection[0]


@pytest.fixture
def transport(connection: tuple[BoundedHttpProtocol, RecordingTransport]) -> RecordingTransport:
    return connection[1]


async def run_ready_callbacks() -> None:
    """Let the answers come."""
    for _ in range(10):
        await asyncio.sleep(0)


# ------------------------------------------------------------------------------------------ bytes


async def test_a_request_is_served_and_the_next_one_too(
    protocol: BoundedHttpProtocol, transport: RecordingTransport
) -> None:
    for _ in range(3):
        protocol.data_received(GET)
        await run_ready_callbacks()
    assert len(transport.answers) == 3
    assert not transport.closed
    protocol.connection_lost(None)


async def test_a_request_states_whether_all_of_it_was_received(
    listener: Listener, protocol: BoundedHttpProtocol
) -> None:
    def states() -> list[bool]:
        return [BODY_IS_COMPLETE in scope["state"] for scope in listener.application.scopes]

    head = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n"
    protocol.data_received(head + b"{}")
    await run_ready_callbacks()
    protocol.data_received(head + b"{")
    await run_ready_callbacks()
    assert states() == [True, False]
    protocol.data_received(b"}")
    await run_ready_callbacks()
    protocol.data_received(head)
    await run_ready_callbacks()
    assert states() == [True, True, False]
    protocol.connection_lost(None)


async def test_an_answer_sets_no_timer(
    protocol: BoundedHttpProtocol, monkeypatch: pytest.MonkeyPatch
) -> None:
    timers: list[float] = []
    monkeypatch.setattr(protocol.loop, "call_later", lambda delay, *_: timers.append(delay))
    protocol.data_received(GET)
    await run_ready_callbacks()
    monkeypatch.undo()
    assert timers == []
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


@pytest.mark.parametrize("is_chunked", [False, True])
async def test_a_large_body_is_no_large_head(
    protocol: BoundedHttpProtocol, transport: RecordingTransport, *, is_chunked: bool
) -> None:
    size = 4 * MAX_HEAD_BYTES
    head = f"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {size}\r\n\r\n".encode()
    protocol.data_received(CHUNKED + b"%x\r\n" % size if is_chunked else head)
    for _ in range(4):
        protocol.data_received(b"x" * MAX_HEAD_BYTES)
        await run_ready_callbacks()
    protocol.data_received(b"\r\n0\r\n\r\n" if is_chunked else b"")
    await run_ready_callbacks()
    assert transport.answers == [b"HTTP/1.1 204 No Content"]
    protocol.connection_lost(None)


@pytest.mark.parametrize(
    "start",
    [
        b"GET /",
        b"GET / HTTP/1.1\r\nx-pad: ",
        b"\r\n",
        CHUNKED + b"0\r\nx-trailer: ",
        CHUNKED + b"1;",
        CHUNKED + b"1\r\nx\r\n1;extension=",
    ],
)
async def test_an_endless_part_of_a_request_is_refused(
    protocol: BoundedHttpProtocol, transport: RecordingTransport, start: bytes
) -> None:
    protocol.data_received(start)
    for _ in range(MAX_HEAD_BYTES // 1000 + 2):
        if not transport.closed:
            protocol.data_received(b"x" * 1000)
            await run_ready_callbacks()
    assert transport.closed


@pytest.mark.parametrize("start", [b"GET / HTTP/1.1\r\n", CHUNKED + b"0\r\n"])
async def test_many_small_fields_are_refused_too(
    protocol: BoundedHttpProtocol, transport: RecordingTransport, start: bytes
) -> None:
    protocol.data_received(start)
    for _ in range(MAX_HEAD_BYTES):
        if transport.closed:
            break
        protocol.data_received(b"a: b\r\n")
        await run_ready_callbacks()
    assert transport.closed


@pytest.mark.parametrize("start", [b"GET / HTTP/1.1\r\n", CHUNKED + b"0\r\n"])
@pytest.mark.parametrize(("fields", "is_refused"), [(200, False), (MAX_FIELDS + 2, True)])
async def test_one_read_with_thousands_of_fields_stops_nobody(
    protocol: BoundedHttpProtocol,
    transport: RecordingTransport,
    start: bytes,
    fields: int,
    *,
    is_refused: bool,
) -> None:
    protocol.data_received(start + b"host: a\r\n" + b"a:\r\n" * fields + b"\r\n")
    await run_ready_callbacks()
    assert transport.closed is is_refused
    if not is_refused:
        protocol.connection_lost(None)


async def test_a_large_head_is_refused_also_if_it_comes_in_one_read(
    listener: Listener, protocol: BoundedHttpProtocol, transport: RecordingTransport
) -> None:
    padding = b"x" * MAX_HEAD_BYTES
    protocol.data_received(b"GET / HTTP/1.1\r\nhost: a\r\nx-pad: " + padding + b"\r\n\r\n")
    await run_ready_callbacks()
    assert transport.answers == [b"HTTP/1.1 400 Bad Request"]
    assert listener.application.scopes == []


async def test_a_small_head_may_be_read_with_much_of_its_body(
    protocol: BoundedHttpProtocol, transport: RecordingTransport
) -> None:
    size = 2 * MAX_HEAD_BYTES
    head = f"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {size}\r\n\r\n".encode()
    protocol.data_received(head + b"x" * size)
    await run_ready_callbacks()
    assert transport.answers == [b"HTTP/1.1 204 No Content"]
    protocol.connection_lost(None)


@pytest.mark.parametrize(
    ("chunk", "number", "is_refused"),
    [
        (b"1\r\nx\r\n", FREE_CHUNKS - 1, False),
        (b"1\r\nx\r\n", 2 * FREE_CHUNKS, True),
        (b"40\r\n" + b"x" * MIN_CHUNK_BYTES + b"\r\n", 4 * FREE_CHUNKS, False),
    ],
)
async def test_a_body_of_thousands_of_tiny_chunks_is_refused(
    protocol: BoundedHttpProtocol,
    transport: RecordingTransport,
    chunk: bytes,
    number: int,
    *,
    is_refused: bool,
) -> None:
    protocol.data_received(CHUNKED + chunk * number + b"0\r\n\r\n")
    await run_ready_callbacks()
    assert transport.closed is is_refused
    if not is_refused:
        protocol.connection_lost(None)


async def test_a_trailer_is_no_header(
    listener: Listener, protocol: BoundedHttpProtocol, transport: RecordingTransport
) -> None:
    protocol.data_received(CHUNKED + b"2\r\n{}\r\n0\r\nauthorization: Bearer x\r\n\r\n")
    await run_ready_callbacks()
    assert transport.answers == [b"HTTP/1.1 204 No Content"]
    assert [name for name, _ in listener.application.scopes[0]["headers"]] == [
        b"host",
        b"transfer-encoding",
    ]
    protocol.connection_lost(None)


@pytest.mark.parametrize("hosts", [b"", b"host: a\r\nhost: b\r\n", b"host: a\r\nHost: a\r\n"])
async def test_a_request_has_exactly_one_host(
    listener: Listener,
    protocol: BoundedHttpProtocol,
    transport: RecordingTransport,
    hosts: bytes,
) -> None:
    protocol.data_received(b"POST / HTTP/1.1\r\n" + hosts + b"content-length: 2\r\n\r\n{}")
    await run_ready_callbacks()
    head, _, body = transport.written.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert json.loads(body)["code"] == "malformed_request"
    assert f"content-length: {len(body)}".encode() in head
    assert transport.closed
    assert listener.application.scopes == []


async def test_an_old_client_needs_no_host(
    protocol: BoundedHttpProtocol, transport: RecordingTransport
) -> None:
    protocol.data_received(b"GET / HTTP/1.0\r\n\r\n")
    await run_ready_callbacks()
    assert transport.answers == [b"HTTP/1.1 204 No Content"]


# ------------------------------------------------------------------------------------- pipelining


async def test_pipelined_requests_are_answered_in_order(
    protocol: BoundedHttpProtocol, transport: RecordingTransport
) -> None:
    protocol.data_received(GET * MAX_PIPELINED)
    for _ in range(MAX_PIPELINED):
        await run_ready_callbacks()
    assert len(transport.answers) == MAX_PIPELINED
    assert not transport.closed
    protocol.connection_lost(None)


async def test_endless_pipelining_is_refused(
    listener: Listener, protocol: BoundedHttpProtocol, transport: RecordingTransport
) -> None:
    protocol.data_received(GET * (MAX_PIPELINED + 2))
    await run_ready_callbacks()
    assert transport.closed
    assert len(listener.application.scopes) <= 1


async def test_a_lost_connection_disconnects_the_request_that_is_served(
    listener: Listener, protocol: BoundedHttpProtocol, transport: RecordingTransport
) -> None:
    application = listener.application
    application.ready.clear()
    protocol.data_received(GET * 3)
    await run_ready_callbacks()
    transport.closed = True
    protocol.connection_lost(None)
    application.ready.set()
    await run_ready_callbacks()
    assert application.messages == ["http.disconnect"]
    assert transport.written == b""


# --------------------------------------------------------------------------------------- deadlines

Prepare = Callable[[Listener, BoundedHttpProtocol], None]


def _keep_waiting(listener: Listener, _: BoundedHttpProtocol) -> None:
    listener.application.ready.clear()


def _ignore_body(listener: Listener, _: BoundedHttpProtocol) -> None:
    listener.application.reads_body = False


def _nothing(_: Listener, __: BoundedHttpProtocol) -> None:
    pass


HEAD, BODY, KEEP = POLICY.head_timeout, POLICY.body_timeout + BODY_GRACE, POLICY.keep_alive_timeout
POST = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n"


async def test_a_body_that_nobody_wants_is_read_a_little_at_a_time(
    listener: Listener,
    connection: tuple[BoundedHttpProtocol, RecordingTransport],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Thirty of them, of 16 MiB, were discarded in bursts: others waited 0.15 s."""
    protocol, transport = connection
    timers: list[tuple[float, Callable[[], None]]] = []
    monkeypatch.setattr(protocol.loop, "call_later", lambda *timer: timers.append(timer))
    listener.application.reads_body = False
    protocol.data_received(POST)
    await run_ready_callbacks()
    states = [transport.paused]
    for part in (b"1234", b"5678"):
        protocol.data_received(part)
        states.append(transport.paused)
        delay, continue_reading = timers.pop()
        assert delay == DISCARD_PAUSE.total_seconds()
        continue_reading()
        states.append(transport.paused)
    assert states == [False, True, False, True, False]
    protocol.data_received(b"9" + GET)
    await run_ready_callbacks()
    assert len(transport.answers) == 2
    assert len(timers) == 1
    protocol.connection_lost(None)


@pytest.mark.parametrize(
    ("prepare", "sent", "deadline"),
    [
        pytest.param(_nothing, [], HEAD, id="nothing"),
        pytest.param(_nothing, [b"GET / HT"], HEAD, id="a-part-of-a-head"),
        pytest.param(_nothing, [GET], KEEP, id="an-answered-request"),
        pytest.param(_nothing, [GET, b"GET"], HEAD, id="a-part-of-a-later-head"),
        pytest.param(_nothing, [GET, b"\r\n"], HEAD, id="an-empty-line-after-an-answer"),
        pytest.param(_nothing, [POST, b"{"], BODY, id="a-slow-body"),
        pytest.param(_keep_waiting, [POST, b"{"], BODY, id="a-body-that-is-not-read-yet"),
        pytest.param(
            _ignore_body, [POST, b"{"], POLICY.discard_timeout, id="a-body-that-nobody-reads"
        ),
        pytest.param(_keep_waiting, [GET, b"GET"], HEAD, id="a-part-of-a-pipelined-head"),
        pytest.param(_keep_waiting, [GET], None, id="an-answer-that-takes-its-time"),
        pytest.param(_keep_waiting, [GET, b"\r\n"], None, id="an-empty-line-before-the-answer"),
    ],
)
async def test_every_state_has_its_deadline(
    listener: Listener,
    connection: tuple[BoundedHttpProtocol, RecordingTransport],
    prepare: Prepare,
    sent: list[bytes],
    deadline: timedelta | None,
) -> None:
    protocol, transport = connection
    prepare(listener, protocol)
    for data in sent:
        protocol.data_received(data)
        await run_ready_callbacks()
    await listener.pass_time((deadline or timedelta(hours=1)) - timedelta(seconds=1))
    assert not transport.closed
    await listener.pass_time((deadline or timedelta(hours=1)) + timedelta(seconds=1))
    assert transport.closed is (deadline is not None)
    protocol.connection_lost(None)
    listener.application.ready.set()
    await run_ready_callbacks()


async def test_a_request_may_have_a_time_of_its_own_for_its_body(listener: Listener) -> None:
    """An upload of a quarter of an hour was cut without an answer after 35 seconds."""
    upload_time = timedelta(minutes=15)
    listener.application.ready.clear()
    protocol, transport = listener.connect()
    protocol.data_received(POST + b"{")
    await run_ready_callbacks()
    listener.application.scopes[0]["state"][BODY_TIMEOUT] = upload_time
    closed = []
    for late in (timedelta(), BODY_GRACE + timedelta(seconds=1)):
        await listener.pass_time(upload_time + late)
        closed.append(transport.closed)
    assert closed == [False, True]
    protocol.connection_lost(None)
    listener.application.ready.set()
    await run_ready_callbacks()


async def test_an_empty_line_does_not_extend_a_deadline(
    listener: Listener, protocol: BoundedHttpProtocol, transport: RecordingTransport
) -> None:
    protocol.data_received(b"\r\n")
    began = protocol._since
    for data in (b"\r\n", b"GET / HTTP/1.1\r\n"):
        protocol.data_received(data)
        assert protocol._since == began
    await listener.pass_time(HEAD + timedelta(seconds=1))
    assert transport.closed


async def test_a_flood_of_empty_lines_ends_the_connection(
    protocol: BoundedHttpProtocol, transport: RecordingTransport
) -> None:
    """Each costs a turn of the event loop, with hundreds of connections for many callers."""
    for _ in range(3):
        protocol.data_received(b"\r\n")
        protocol.data_received(GET)
        await run_ready_callbacks()
    assert len(transport.answers) == 3
    for _ in range(MAX_EMPTY_READS):
        protocol.data_received(b"\r\n\n")
        await run_ready_callbacks()
    assert not transport.closed
    protocol.data_received(b"\r")
    await run_ready_callbacks()
    assert transport.aborted


async def test_empty_lines_during_an_answer_count_too(
    listener: Listener, protocol: BoundedHttpProtocol, transport: RecordingTransport
) -> None:
    listener.application.ready.clear()
    protocol.data_received(GET)
    await run_ready_callbacks()
    for _ in range(MAX_EMPTY_READS + 1):
        protocol.data_received(b"\r\n")
        await run_ready_callbacks()
    assert transport.aborted
    protocol.connection_lost(None)
    listener.application.ready.set()


@pytest.fixture
def crowd() -> Listener:
    """A listener with room for many connections."""
    listener = Listener()
    listener.connections = Connections(replace(POLICY, max_connections=100, max_per_address=99))
    return listener


async def test_what_many_connections_sent_at_once_is_served_in_turns(crowd: Listener) -> None:
    """A thousand at once took the event loop for 80 ms, in which no other caller was served."""
    opened = [crowd.connect() for _ in range(3 * PER_TURN)]
    other, answered = crowd.connect("192.0.2.2")
    other.data_received(GET)
    for protocol, _ in opened:
        protocol.data_received(GET)
    assert sum(transport.paused for _, transport in opened) == 2 * PER_TURN
    await asyncio.sleep(0)
    served = [scope["client"][0] for scope in crowd.application.scopes]
    assert served == ["192.0.2.2"] + ["192.0.2.1"] * PER_TURN
    await run_ready_callbacks()
    assert all(transport.answers and not transport.paused for _, transport in opened)
    for protocol, _ in [*opened, (other, answered)]:
        protocol.connection_lost(None)


async def test_pipelined_requests_of_many_connections_take_turns_too(crowd: Listener) -> None:
    opened = [crowd.connect() for _ in range(ALONE_PER_TURN)]
    for protocol, _ in opened:
        protocol.data_received(GET * 8)
    most = 0
    while len(crowd.application.scopes) < 8 * ALONE_PER_TURN:
        before = len(crowd.application.scopes)
        await asyncio.sleep(0)
        most = max(most, len(crowd.application.scopes) - before)
    assert most <= ALONE_PER_TURN
    await run_ready_callbacks()
    for protocol, transport in opened:
        assert len(transport.answers) == 8
        protocol.connection_lost(None)


async def test_a_connection_that_ended_while_it_waited_for_its_turn_is_not_served(
    crowd: Listener,
) -> None:
    opened = [crowd.connect() for _ in range(ALONE_PER_TURN + 1)]
    for protocol, _ in opened:
        protocol.data_received(GET)
    last, transport = opened[-1]
    transport.abort()
    last.connection_lost(None)
    await run_ready_callbacks()
    assert len(crowd.application.scopes) == ALONE_PER_TURN
    for protocol, _ in opened[:-1]:
        protocol.connection_lost(None)


async def test_a_pipelined_request_whose_connection_ended_is_not_served(crowd: Listener) -> None:
    loop = asyncio.get_running_loop()
    protocol, transport = crowd.connect()
    crowd.application.ready.clear()
    protocol.data_received(GET * 3)
    await run_ready_callbacks()

    def take_all_places() -> None:
        while crowd.connections.has_turn("192.0.2.1", loop):
            pass

    loop.call_soon(take_all_places)
    crowd.application.ready.set()
    await asyncio.sleep(0)
    assert len(transport.answers) == 1
    transport.abort()
    protocol.connection_lost(None)
    await run_ready_callbacks()
    assert len(crowd.application.scopes) == 1


async def test_connections_end_in_turns(crowd: Listener) -> None:
    """A thousand that a caller left ended in one turn: other callers waited for 0.1 seconds."""
    opened = [crowd.connect() for _ in range(2 * ENDINGS_PER_TURN)]
    assert all(protocol.eof_received() for protocol, _ in opened)
    ended = [sum(transport.closed for _, transport in opened)]
    for _ in range(4):
        await asyncio.sleep(0)
        ended.append(sum(transport.closed for _, transport in opened))
    assert ended == [0, 0, ENDINGS_PER_TURN, 2 * ENDINGS_PER_TURN, 2 * ENDINGS_PER_TURN]


async def test_a_request_that_comes_before_an_overdue_end_is_served(listener: Listener) -> None:
    """Else a submit is admitted, and its answer dropped."""
    protocol, transport = listener.connect()
    now = asyncio.get_running_loop().time() + HEAD.total_seconds() + 1
    protocol.close_if_overdue(now)
    with patch.object(protocol.loop, "time", return_value=now):
        protocol.data_received(GET)
        await run_ready_callbacks()
    assert len(transport.answers) == 1
    assert not transport.closed


async def test_what_drained_goes_on_in_turns(crowd: Listener) -> None:
    """Seventy that had room for more were sent 0.7 MB each in one turn: 50 ms."""
    opened = [crowd.connect()[0] for _ in range(2 * PER_TURN)]
    for protocol in opened:
        protocol.pause_writing()
    for protocol in opened:
        protocol.resume_writing()
    assert sum(not protocol.flow.write_paused for protocol in opened) == PER_TURN
    await run_ready_callbacks()
    assert not any(protocol.flow.write_paused for protocol in opened)


async def test_a_long_answer_counts_as_several_beginnings(crowd: Listener) -> None:
    """Twenty pipelined requests for 0.7 MB each took 5 ms of each turn of the event loop."""
    parts = 3
    protocol, transport = crowd.connect()
    sent = serve_long_answer(protocol, transport, b"x" * parts * ANSWER_PART)
    protocol.pause_writing = lambda: None  # type: ignore[method-assign]  # the caller reads
    other, answered = crowd.connect("192.0.2.2")
    other.data_received(GET)
    protocol.data_received(GET * 2)
    turns = 0
    while len(sent) < 2 * (parts + 1):
        await asyncio.sleep(0)
        turns += 1
        assert turns < 99
    assert len(answered.answers) == 1
    assert turns > 1 + parts // PER_TURN
    for one in (protocol, other):
        one.connection_lost(None)


def serve_long_answer(
    protocol: BoundedHttpProtocol, transport: RecordingTransport, body: bytes
) -> list[bytes]:
    """Let the application answer with `body`, of which the caller reads nothing by itself.

    Returns a list that gets what is sent.
    """
    sent: list[bytes] = []

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await json_bytes_response(body)(scope, receive, send)

    def write(data: bytes | bytearray | memoryview) -> None:
        sent.append(bytes(data))
        if len(data) >= ANSWER_PART:
            protocol.pause_writing()

    protocol.app = answer
    transport.write = write  # type: ignore[method-assign]
    return sent


async def test_a_caller_that_ended_its_side_gets_all_of_a_long_answer(crowd: Listener) -> None:
    """It got the first parts only."""
    body = b"x" * (3 * ANSWER_PART)
    protocol, transport = crowd.connect()
    sent = serve_long_answer(protocol, transport, body)
    protocol.data_received(GET)
    protocol.eof_received()
    while not transport.closed:
        await run_ready_callbacks()
        protocol.resume_writing()
    assert b"".join(sent).endswith(body)
    protocol.connection_lost(None)


async def test_an_answer_to_a_caller_that_ended_its_side_has_a_deadline(crowd: Listener) -> None:
    protocol, transport = crowd.connect()
    serve_long_answer(protocol, transport, b"x" * (3 * ANSWER_PART))
    protocol.data_received(GET)
    protocol.eof_received()
    await run_ready_callbacks()
    closed = []
    for late in (-SECOND, SECOND):
        await crowd.pass_time(ENDED_TIMEOUT + late)
        closed.append(transport.closed)
    assert closed == [False, True]
    protocol.connection_lost(None)
    await run_ready_callbacks()


async def test_a_caller_that_ended_its_side_of_a_stream_is_cut(crowd: Listener) -> None:
    crowd.application.ready.clear()
    protocol, transport = crowd.connect()
    protocol.data_received(GET)
    protocol.eof_received()
    await run_ready_callbacks()
    assert transport.closed
    protocol.connection_lost(None)
    crowd.application.ready.set()
    await run_ready_callbacks()


async def test_a_caller_that_does_not_read_its_answer_gives_way(listener: Listener) -> None:
    """It held its connection at 64 KiB in half a minute, and a few addresses held all."""
    opened = [listener.connect(f"192.0.2.{number}") for number in (1, 2)]
    for protocol, transport in opened:
        serve_long_answer(protocol, transport, b"x" * 10 * ANSWER_PART)
        protocol.data_received(GET)
        await run_ready_callbacks()
    reading, unread = opened
    reading[0].resume_writing()
    _, new = listener.connect("192.0.2.3")
    assert [new.aborted, reading[1].aborted, unread[1].aborted] == [False, False, True]
    for protocol, transport in opened:
        transport.close()
        protocol.connection_lost(None)
    await run_ready_callbacks()


async def test_an_end_that_fails_does_not_keep_the_others(crowd: Listener) -> None:
    failing, ended = [ValueError("boom")], []

    def end() -> None:
        if failing:
            raise failing.pop()
        ended.append(1)

    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda *_: None)
    for _ in range(2 * ENDINGS_PER_TURN):
        crowd.connections.end(end, loop)
    await run_ready_callbacks()
    assert len(ended) == 2 * ENDINGS_PER_TURN - 1


async def test_a_trusted_proxy_and_a_large_read_wait_for_no_turn(crowd: Listener) -> None:
    """The proxy's connections are of many callers; what is kept while it waits is bounded."""
    large = b"GET / HTTP/1.1\r\nhost: a\r\nx-pad: " + b"x" * MAX_WAITING_READ + b"\r\n\r\n"
    opened = [crowd.connect() for _ in range(2 * PER_TURN)]
    for protocol, _ in opened:
        protocol.data_received(large)
    policy = replace(crowd.connections.policy, is_exempt=lambda address: address == "192.0.2.2")
    crowd.connections.policy = policy
    proxied = [crowd.connect("192.0.2.2") for _ in range(2 * PER_TURN)]
    for protocol, _ in proxied:
        protocol.data_received(GET)
    await asyncio.sleep(0)
    assert len(crowd.application.scopes) == 4 * PER_TURN
    await run_ready_callbacks()
    for protocol, _ in [*opened, *proxied]:
        protocol.connection_lost(None)


class StoppedLoop:
    """An event loop whose clock stands, and whose turns end when they are told to."""

    def __init__(self) -> None:
        self.now = 10.0
        self._ready: list[Callable[[], object]] = []

    def time(self) -> float:
        return self.now

    def call_soon(self, callback: Callable[..., object], *given: object) -> None:
        self._ready.append(partial(callback, *given))

    def run_turn(self) -> None:
        ready, self._ready = self._ready, []
        for callback in ready:
            callback()


def test_what_is_charged_ends_with_the_turns() -> None:
    """An address that waits for nothing has nothing pending for long."""
    loop: Any = StoppedLoop()
    turns, waited = Turns(), 0
    for address in ("192.0.2.1", "192.0.2.2"):
        assert turns.take(address, loop)
    turns.charge("192.0.2.1", 2 * PER_TURN + 1, loop)
    while not turns.take("192.0.2.1", loop):
        loop.run_turn()
        waited += 1
    assert waited == 3


@pytest.mark.parametrize(
    ("others_sent_before", "expected"),
    [
        (timedelta(), PER_TURN),
        (ALONE_AFTER - timedelta(milliseconds=1), PER_TURN),
        (ALONE_AFTER, ALONE_PER_TURN),
    ],
)
def test_an_address_that_is_the_only_one_has_more_of_a_turn(
    others_sent_before: timedelta, expected: int
) -> None:
    loop, turns, begun = StoppedLoop(), Turns(), Counter[str]()

    def send(address: str) -> None:
        if turns.take(address, loop):  # type: ignore[arg-type]  # what is used of a loop
            begun[address] += 1
        else:
            turns.wait(address, lambda: begun.update([address]))

    send("192.0.2.1")
    send("192.0.2.2")
    loop.run_turn()
    loop.now += others_sent_before.total_seconds()
    begun.clear()
    for _ in range(20):
        send("192.0.2.2")
    assert begun["192.0.2.2"] == expected
    loop.run_turn()  # the turn ends
    loop.run_turn()
    assert begun["192.0.2.2"] == 2 * expected
    send("192.0.2.3")
    assert begun["192.0.2.3"] == 1
    for _ in range(20):
        loop.run_turn()
    assert begun["192.0.2.2"] == 20


UPLOAD = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n"


async def test_an_address_sends_large_bodies_at_one_pace(crowd: Listener) -> None:
    """One that sent without a pause took half of the event loop's time."""
    opened = [crowd.connect() for _ in range(2)]
    size, piece = 16 * 2**20, b"x" * 2**18
    sent = 0
    for protocol, _ in opened:
        protocol.data_received(UPLOAD % size)
    while not any(transport.paused for _, transport in opened):
        for protocol, _ in opened:
            protocol.data_received(piece)
            sent += len(piece)
        await run_ready_callbacks()
    burst = BODY_BURST.total_seconds() * BODY_BYTES_PER_SECOND
    assert burst <= sent <= 2 * burst + 4 * len(piece)  # the clock goes on
    for protocol, _ in opened:
        protocol.connection_lost(None)
    await run_ready_callbacks()


async def test_a_small_body_has_no_pace(crowd: Listener) -> None:
    for _ in range(40):
        protocol, transport = crowd.connect()
        protocol.data_received(UPLOAD % LARGE_BODY + b"x" * LARGE_BODY)
        assert not transport.paused
        await run_ready_callbacks()
        assert transport.answers == [b"HTTP/1.1 204 No Content"]
        protocol.connection_lost(None)


def test_the_pace_of_an_address_does_not_depend_on_its_connections() -> None:
    connections = Connections(POLICY)
    second = BODY_BYTES_PER_SECOND // 4
    delays = [connections.body_delay("192.0.2.1", second, 10.0) for _ in range(4)]
    assert delays == [number * timedelta(seconds=0.25) - BODY_BURST for number in range(1, 5)]
    assert connections.body_delay("192.0.2.2", 1000, 10.0) == timedelta()
    assert connections.body_delay("192.0.2.1", second, 11.0) == delays[0]
    proxy = Connections(replace(POLICY, is_exempt=lambda _: True))
    assert proxy.body_delay("192.0.2.1", 2**30, 10.0) == timedelta()


def test_each_connection_is_checked_for_its_deadlines_in_one_round() -> None:
    connections = Connections(replace(POLICY, max_connections=100, max_per_address=100))
    checked: list[int] = []
    for number in range(25):
        connections.admit(NumberedConnection(number, checked), "192.0.2.1")
    for part in range(CHECK_PARTS):
        before = len(checked)
        connections.close_overdue(10.0, part)
        assert len(checked) - before <= 25 // CHECK_PARTS + 1
    assert sorted(checked) == list(range(25))


class NumberedConnection:
    """Notes its number when it is checked."""

    def __init__(self, number: int, checked: list[int]) -> None:
        self._number = number
        self._checked = checked

    def close_if_overdue(self, now: float) -> None:
        assert now == 10.0
        self._checked.append(self._number)

    def abort(self) -> None:
        raise AssertionError


def _pause(flow: HeldFlow) -> None:
    flow.pause_reading()


def _resume(flow: HeldFlow) -> None:
    flow.resume_reading()


def _hold(flow: HeldFlow) -> None:
    flow.hold()


def _release(flow: HeldFlow) -> None:
    flow.release()


@pytest.mark.parametrize(
    ("steps", "is_paused"),
    [
        ([_hold], True),
        ([_hold, _release], False),
        ([_hold, _resume], True),
        ([_hold, _pause, _release], True),
        ([_hold, _pause, _resume], True),
        ([_hold, _pause, _resume, _release], False),
        ([_pause, _hold, _release], True),
        ([_pause, _hold, _resume], True),
        ([_pause, _hold, _resume, _release], False),
        ([_pause, _hold, _release, _resume], False),
    ],
)
async def test_reading_goes_on_when_neither_side_has_stopped_it(
    steps: list[Callable[[HeldFlow], None]], *, is_paused: bool
) -> None:
    transport = RecordingTransport()
    flow = HeldFlow(transport)
    for step in steps:
        step(flow)
    assert transport.paused is is_paused


async def test_an_address_that_sends_no_requests_is_read_later(listener: Listener) -> None:
    for _ in range(MALFORMED_PER_SECOND + 1):
        protocol, transport = listener.connect()
        protocol.data_received(b"\x16\x03\x01\r\n\r\n")
        assert transport.answers == [b"HTTP/1.1 400 Bad Request"]
        assert not transport.paused
        protocol.connection_lost(None)
        await run_ready_callbacks()
    late, slowed = listener.connect()
    other, not_slowed = listener.connect("192.0.2.2")
    late.data_received(GET)
    other.data_received(GET)
    await run_ready_callbacks()
    assert (slowed.paused, slowed.answers) == (True, [])
    assert not_slowed.answers == [b"HTTP/1.1 204 No Content"]
    late._release()
    await run_ready_callbacks()
    assert (slowed.paused, slowed.answers) == (False, [b"HTTP/1.1 204 No Content"])
    for protocol in (late, other):
        protocol.connection_lost(None)


def read_until_paused(protocol: BoundedHttpProtocol, transport: RecordingTransport) -> int:
    """Read pieces of a body until the connection is not read any more; return how many, or 100."""
    for number in range(100):
        if transport.paused:
            return number
        protocol.data_received(b"x" * 2**18)
    return 100


async def test_a_body_that_comes_while_its_connection_waits_is_not_kept(listener: Listener) -> None:
    """Thirty of 16 MiB filled the memory: what was to be read later was read, and never stopped."""
    for _ in range(MALFORMED_PER_SECOND + 1):
        listener.connections.note_malformed("192.0.2.1", asyncio.get_running_loop().time())
    protocol, transport = listener.connect()
    listener.application.ready.clear()
    protocol.data_received(UPLOAD % 2**24)
    assert read_until_paused(protocol, transport) == 0
    protocol._release()
    assert read_until_paused(protocol, transport) <= 2
    protocol.connection_lost(None)
    listener.application.ready.set()
    await run_ready_callbacks()


def test_an_address_that_is_slowed_has_no_more_read_than_it_may_send_malformed() -> None:
    connections = Connections(POLICY)
    for _ in range(MALFORMED_PER_SECOND + 1):
        connections.note_malformed("192.0.2.1", 10.0)
    delays = [connections.reading_delay("192.0.2.1", 10.0) for _ in range(1000)]
    read = [delay for delay in delays if delay is not None]
    assert delays[len(read) :] == [None] * (1000 - len(read))  # closed
    between = {late - early for early, late in pairwise(read)}
    assert between == {timedelta(seconds=1) / MALFORMED_PER_SECOND}
    assert read[0] > MALFORMED_DELAY
    assert read[-1] < MAX_READING_DELAY
    assert connections.reading_delay("192.0.2.1", 10.1) is not None  # two places are free again


async def test_a_connection_that_would_wait_too_long_is_closed(listener: Listener) -> None:
    now = asyncio.get_running_loop().time() + 1  # the loop's clock goes on
    for _ in range(1000):
        listener.connections.note_malformed("192.0.2.1", now)
        listener.connections.reading_delay("192.0.2.1", now)
    protocol, transport = listener.connect()
    assert transport.aborted
    protocol.connection_lost(None)
    assert not len(listener.connections)


def test_what_was_malformed_is_forgotten() -> None:
    connections = Connections(POLICY)
    for _ in range(1000):
        connections.note_malformed("192.0.2.1", 10.0)
    assert connections.reading_delay("192.0.2.1", 10.5) == 1.5 * MALFORMED_DELAY
    assert connections.reading_delay("192.0.2.1", 11.1) == timedelta()
    proxy = Connections(replace(POLICY, is_exempt=lambda _: True))
    for _ in range(1000):
        proxy.note_malformed("192.0.2.1", 10.0)
    assert not proxy.reading_delay("192.0.2.1", 10.0)


WINDOW = POLICY.write_window + timedelta(milliseconds=1)


@pytest.mark.parametrize("closes", [False, True])
async def test_an_answer_that_nobody_reads_ends(
    listener: Listener, transport: RecordingTransport, *, closes: bool
) -> None:
    transport.unsent = 10 * POLICY.min_write_bytes
    if closes:
        transport.close()
    await listener.pass_time(timedelta())
    await listener.pass_time(WINDOW)
    assert transport.aborted


async def test_an_answer_that_is_read_slowly_does_not_end(
    listener: Listener, protocol: BoundedHttpProtocol, transport: RecordingTransport
) -> None:
    transport.unsent = 10 * POLICY.min_write_bytes
    protocol.data_received(GET)
    await run_ready_callbacks()
    await listener.pass_time(timedelta())
    for _ in range(2):
        transport.unsent -= POLICY.min_write_bytes
        await listener.pass_time(WINDOW)
        assert not transport.aborted
        transport.unsent += POLICY.min_write_bytes
        protocol.resume_writing()
    protocol.connection_lost(None)


# ----------------------------------------------------------------------------------------- numbers


async def test_the_longest_idle_connection_gives_way(listener: Listener) -> None:
    first, second = listener.connect("192.0.2.1"), listener.connect("192.0.2.2")
    first[0].data_received(GET)
    await run_ready_callbacks()
    third = listener.connect("192.0.2.3")
    assert [one.aborted for _, one in (first, second, third)] == [False, True, False]
    assert len(listener.connections) == POLICY.max_connections
    first[0].connection_lost(None)


async def test_a_connection_with_a_request_never_gives_way(listener: Listener) -> None:
    listener.application.ready.clear()
    busy = [listener.connect(f"192.0.2.{number}") for number in range(2)]
    for protocol, _ in busy:
        protocol.data_received(GET)
    refused = listener.connect("192.0.2.9")
    assert [one.aborted for _, one in (*busy, refused)] == [False, False, True]
    refused[0].connection_lost(None)
    assert len(listener.connections) == 2
    listener.application.ready.set()
    for protocol, _ in busy:
        protocol.connection_lost(None)
    assert len(listener.connections) == 0
    await run_ready_callbacks()


async def test_an_address_replaces_its_own_connections_only() -> None:
    closed: list[str] = []
    policy = ConnectionPolicy(3, 2, KEEP, BODY)

    class Idle:
        def __init__(self, name: str) -> None:
            self._name = name

        def abort(self) -> None:
            closed.append(self._name)

        def close_if_overdue(self, now: float) -> None:
            raise AssertionError(now)

    connections = Connections(policy)
    assert all(connections.admit(Idle(name), name[0]) for name in ("b1", "a1", "a2", "a3"))
    assert closed == ["a1"]
    assert connections.admit(Idle("c1"), "c")
    assert closed == ["a1", "b1"]


class FakeSocket:
    """A TCP socket that keeps its options."""

    family = socket.AF_INET

    def __init__(self) -> None:
        self.options: dict[tuple[int, int], int] = {}

    def setsockopt(self, level: int, name: int, value: int) -> None:
        self.options[level, name] = value

    def getpeername(self) -> tuple[str, int]:
        return "192.0.2.1", 1

    getsockname = getpeername


async def test_a_trusted_proxy_may_take_all_connections() -> None:
    class Open:
        def abort(self) -> None:
            raise AssertionError

        def close_if_overdue(self, now: float) -> None:
            raise AssertionError(now)

    policy = ConnectionPolicy(3, 1, KEEP, BODY, is_exempt="proxy".__eq__)
    connections = Connections(policy)
    assert [connections.admit(Open(), "proxy") for _ in range(3)] == [True] * 3


async def test_the_kernel_ends_a_connection_to_a_host_that_vanished(listener: Listener) -> None:
    protocol, transport = listener.connect()
    found = {"socket": FakeSocket()}
    transport.get_extra_info = found.get  # type: ignore[assignment, method-assign]  # a TCP socket
    protocol.connection_made(transport)
    assert found["socket"].options == {(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT): 15_000}
