"""uvicorn's HTTP/1.1 protocol with limits: uvicorn itself bounds neither bytes nor time.

Without them a caller without a key could fill the memory, or keep connections for ever.
"""

import asyncio
import socket
from datetime import timedelta
from enum import Enum, auto
from functools import partial
from typing import Any, Final

import httptools
import uvicorn
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from core.http_server.connections import LARGE_BODY, Connections
from core.http_server.flow import HeldFlow

MAX_HEAD_BYTES: Final = 64 * 1024
"""Maximum size of request line and headers; of an incomplete head, accurate to one read.

Also of what a chunked body has beside its data in one piece: chunk extensions and trailers.
"""
MAX_FIELDS: Final = 256
"""Fields of a head, and of trailers: each costs a call, and one read can have thousands."""
FREE_CHUNKS: Final = 256
MIN_CHUNK_BYTES: Final = 64
"""Mean size of the chunks of a body beyond `FREE_CHUNKS`: as with `MAX_FIELDS`. A thousand chunks
take 0.7 ms."""
MAX_EMPTY_READS: Final = 8
"""Reads of nothing but empty lines before a request: a client may send one (RFC 9112, 2.2)."""
MAX_WAITING_READ: Final = 16 * 1024
"""Largest read that waits for a turn: it is kept meanwhile, for each connection."""
MAX_PIPELINED: Final = 64
"""Requests that may wait behind one whose answer is not complete."""
BODY_GRACE: Final = timedelta(seconds=5)
"""The application's own answer to a slow body comes before the connection is closed."""
BODY_IS_COMPLETE: Final = "body_is_complete"
"""Key in the ASGI state of a request of which everything was received: no read waits."""
ANSWER_BYTES: Final = "answer_bytes"
"""Key in the ASGI state for the size of a long answer, which counts as several (`Turns.charge`)."""
BODY_TIMEOUT: Final = "body_timeout"
"""Key in the ASGI state of a request: the time for its body, as a `timedelta`, where it is another
one than the listener's. The application sets it."""
ENDED_TIMEOUT: Final = timedelta(minutes=10)
"""For the rest of an answer whose caller has ended its own side of the connection."""
DISCARD_PAUSE: Final = timedelta(milliseconds=20)
"""Between two reads of a body that is discarded: else one turn of the event loop reads megabytes of
each connection. With a buffer of 256 KiB it is 12 MB/s."""

_LINE_END: Final = b"\r\n"
_TOO_LARGE: Final = "Request header fields too large."
_TOO_MANY: Final = "Too many header fields."
_SMALL_CHUNKS: Final = "Too many small chunks."
_ONE_HOST: Final = "A request needs exactly one Host header."
_PIPELINED: Final = "Too many requests without waiting for an answer."
_PROBLEM: Final = (
    '{{"type":"urn:runcomfy-gateway:problem:malformed_request","title":"Malformed request",'
    '"status":400,"detail":"{}","code":"malformed_request","retryable":false,"billed":"no"}}'
)


class _Reading(Enum):
    """What the next byte from the caller belongs to."""

    NOTHING = auto()
    HEAD = auto()
    BODY = auto()


class BoundedHttpProtocol(HttpToolsProtocol):
    """Bounds a connection's bytes and the time of each of its states.

    `Connections.close_overdue` calls `close_if_overdue` every second, so that a request costs no
    timer.
    """

    def __init__(
        self,
        connections: Connections,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """`connections` is shared by the listener; the rest is uvicorn's."""
        super().__init__(config, server_state, app_state, _loop)
        self._connections = connections
        self._policy = connections.policy
        self._reading = _Reading.NOTHING
        self._since = self.loop.time()
        """When the present state of reading began; while nothing is read: the last answer's end."""
        self._idle_timeout = self._policy.head_timeout
        self._unparsed_bytes = 0
        """Bytes since the parser last completed a part of a request."""
        self._is_between_requests = True
        self._empty_reads = 0
        self._fields = 0
        """Fields of the head, or of the trailers, so far."""
        self._chunks = 0
        self._body_bytes = 0
        self._active: RequestResponseCycle | None = None
        self._unsent: tuple[float, int] | None = None
        """When the unsent bytes were counted, and how many there were."""
        self._has_ended = False
        """Whether the caller has ended its side, and the rest of an answer is still sent."""
        self._rejection: str | None = None
        self._unread = b""
        """What was read and waits to be parsed."""
        self.flow: HeldFlow

    # ------------------------------------------------------------------------------ connection

    def connection_made(  # type: ignore[override]  # as uvicorn's own
        self, transport: asyncio.Transport
    ) -> None:
        """Close the connection if there are too many, or read it later (`reading_delay`)."""
        super().connection_made(transport)
        self.flow = HeldFlow(transport)
        if not self._connections.admit(self, self._address):
            transport.abort()
            return
        delay = self._connections.reading_delay(self._address, self.loop.time())
        if delay is None:
            transport.abort()
            return
        _set_unacknowledged_timeout(transport, self._policy.unacknowledged_timeout)
        if delay:
            self._hold(delay)

    @property
    def _address(self) -> str:
        return self.client[0] if self.client else ""

    def _hold(self, delay: timedelta) -> None:
        """Read no more for a while."""
        self.flow.hold()
        self.loop.call_later(delay.total_seconds(), self._release)

    def _release(self) -> None:
        self.flow.release()
        if data := self._take_unread():
            self._receive(data)

    def _take_unread(self) -> bytes:
        """Return what waits to be parsed; nothing if the connection has ended."""
        data, self._unread = self._unread, b""
        return b"" if self.transport.is_closing() else data

    def connection_lost(self, exc: Exception | None) -> None:
        """Disconnect the request that is being served; uvicorn knows only the last one."""
        self._connections.remove(self)
        if self._active is not None and not self._active.response_complete:
            self._active.disconnected = True
            self._active.message_event.set()
        super().connection_lost(exc)

    def eof_received(self) -> bool:  # type: ignore[override]  # as asyncio has it
        """Close the connection in one of the next turns: True leaves that to this class."""
        self._connections.end(self._close_after_answer, self.loop)
        return True

    def _close_after_answer(self) -> None:
        """Close, unless a part of an answer of known length was sent: then after the rest of it.

        The caller may have ended only its own side.
        """
        active = self._active
        if active is not None and self._is_answering() and active.chunked_encoding is False:
            active.keep_alive = False
            self._since, self._has_ended = self.loop.time(), True
        else:  # no part was sent, or it is a stream, which may have no end
            self.transport.close()

    def abort(self) -> None:
        """See `core.http_server.connections.Connection`."""
        self.transport.abort()

    def close_if_overdue(self, now: float) -> None:
        """See `core.http_server.connections.Connection`."""
        if self._is_write_overdue(now):
            self._connections.end(self.transport.abort, self.loop)
        elif self._is_reading_overdue(now):
            self._connections.end(partial(self._close_if_reading_overdue, now), self.loop)

    def _is_reading_overdue(self, now: float) -> bool:
        return now - self._since > self._timeout().total_seconds()

    def _close_if_reading_overdue(self, now: float) -> None:
        """Close, unless a request came while the connection waited for its end."""
        if self._is_reading_overdue(now):
            self.transport.close()

    def _timeout(self) -> timedelta:
        if self._has_ended:
            return ENDED_TIMEOUT
        if self._reading is _Reading.HEAD:
            return self._policy.head_timeout
        if self._reading is _Reading.BODY:
            if not self._is_answering():
                return self._policy.discard_timeout
            wanted: timedelta = self.scope["state"].get(BODY_TIMEOUT, self._policy.body_timeout)
            return wanted + BODY_GRACE
        return timedelta.max if self._is_answering() else self._idle_timeout

    def _is_answering(self) -> bool:
        return self._active is not None and not self._active.response_complete

    def _is_write_overdue(self, now: float) -> bool:
        unsent = self.transport.get_write_buffer_size()
        if not unsent:
            self._unsent = None
            return False
        if self._unsent is None:
            self._unsent = (now, unsent)
        counted_at, before = self._unsent
        if now - counted_at < self._policy.write_window.total_seconds():
            return False
        self._unsent = (now, unsent)
        return before - unsent < self._policy.min_write_bytes

    def pause_writing(self) -> None:
        """Send no more until the caller has read: meanwhile it may give way to a new connection."""
        super().pause_writing()
        self._connections.mark_unread(self)

    def resume_writing(self) -> None:
        """Start a new count: the caller has read enough. More is sent in a turn of its address."""
        self._unsent = None
        self._connections.mark_read(self)
        if self._connections.has_turn(self._address, self.loop):
            super().resume_writing()
        else:
            self._connections.wait_for_turn(self._address, super().resume_writing)

    # --------------------------------------------------------------------------------- reading

    def data_received(self, data: bytes) -> None:
        """Parse what was read, or keep it if nothing was to be read."""
        if self.flow.is_held:
            # uvloop begins to read after `connection_made`, whether or not that has paused it.
            self.flow.hold()
            self._unread += data
        else:
            self._receive(data)

    def _receive(self, data: bytes) -> None:
        """Parse what was read, in a later turn if many connections of the address were read."""
        if self._reading is _Reading.NOTHING and not self._is_answering():
            self._begin(_Reading.HEAD)
        if self._is_between_requests and not data.strip(_LINE_END):
            self._drop_empty_lines()
            return
        is_small = len(data) <= MAX_WAITING_READ and self._reading is not _Reading.BODY
        if is_small and not self._connections.has_turn(self._address, self.loop):
            self.flow.hold()
            self._unread = data
            self._connections.wait_for_turn(self._address, self._parse_unread)
        else:
            self._parse(data)

    def _parse_unread(self) -> None:
        self.flow.release()
        if data := self._take_unread():
            self._parse(data)

    def _parse(self, data: bytes) -> None:
        """Parse, and count the bytes of a part that does not become complete."""
        self._unparsed_bytes += len(data)
        super().data_received(data)
        if self._unparsed_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response(_TOO_LARGE)

    def _drop_empty_lines(self) -> None:
        self._empty_reads += 1
        if self._empty_reads > MAX_EMPTY_READS:
            self.flow.hold()
            self._connections.end(self.transport.abort, self.loop)

    def on_message_begin(self) -> None:
        """A request begins."""
        self._is_between_requests = False
        self._empty_reads = 0
        if len(self.pipeline) >= MAX_PIPELINED:
            self._reject(_PIPELINED)
        if self._reading is not _Reading.HEAD:
            self._begin(_Reading.HEAD)
        self._fields = 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header of the head; drop a trailer, which no check has seen (RFC 9110, 6.5.1)."""
        self._fields += 1
        if self._fields > MAX_FIELDS:
            self._reject(_TOO_MANY)
        if self._reading is _Reading.HEAD:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Serve the request."""
        hosts = sum(name == b"host" for name, _ in self.headers)
        # RFC 9112, 3.2: a proxy may have routed by another one.
        if hosts > 1 or (not hosts and self.parser.get_http_version() == "1.1"):
            self._reject(_ONE_HOST)
        if self._unparsed_bytes > MAX_HEAD_BYTES:
            self._check_head()
        self._unparsed_bytes = self._fields = self._chunks = self._body_bytes = 0
        self._begin(_Reading.BODY)
        super().on_headers_complete()

    def _check_head(self) -> None:
        """Reject a head that is too large. What was read may have a body after it."""
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > MAX_HEAD_BYTES:
            self._reject(_TOO_LARGE)

    def on_chunk_header(self) -> None:
        """Count the chunks of a body."""
        self._chunks += 1
        if self._chunks > FREE_CHUNKS + self._body_bytes // MIN_CHUNK_BYTES:
            self._reject(_SMALL_CHUNKS)

    def on_body(self, body: bytes) -> None:
        """Pass a part of the body on, or discard it."""
        self._unparsed_bytes = 0
        self._body_bytes += len(body)
        super().on_body(body)
        if self.flow.is_held:
            return
        if self.cycle.response_complete:
            self._hold(DISCARD_PAUSE)
        elif self._body_bytes > LARGE_BODY:
            now = self.loop.time()
            delay = self._connections.body_delay(self._address, len(body), now)
            if delay:
                self._hold(delay)

    def on_message_complete(self) -> None:
        """Wait for the next request."""
        self._is_between_requests = True
        self._unparsed_bytes = 0
        self._begin(_Reading.NOTHING)
        self._mark_idle()
        self.scope["state"][BODY_IS_COMPLETE] = True
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Wait for the next request, or discard the rest of this one's body."""
        if self._reading is not _Reading.HEAD:
            self._since = self.loop.time()
        self._mark_idle()
        if self._active is not None and (size := self._active.scope["state"].get(ANSWER_BYTES)):
            self._connections.count_answer(self._address, size, self.loop)
        # All that uvicorn's own method does but a timer for the idle connection (see the class).
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if not self.pipeline:
            return
        if self._connections.has_turn(self._address, self.loop):
            self._start_next()
        else:
            self._connections.wait_for_turn(self._address, self._start_next)

    def _start_next(self) -> None:
        """Serve the next pipelined request, unless the connection ended while it waited."""
        if not self.transport.is_closing():
            self._start_asgi_task(*self.pipeline.pop())

    def send_400_response(self, msg: str) -> None:
        """Answer with a problem, unless another answer is being sent, and close."""
        self._connections.note_malformed(self._address, self.loop.time())
        if not self._is_answering():
            body = _PROBLEM.format(self._rejection or msg).encode()
            self.transport.write(_BAD_REQUEST_HEAD + b"%d\r\n\r\n%s" % (len(body), body))
        self.transport.close()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._active = cycle
        self._connections.mark_busy(self)
        self._idle_timeout = self._policy.keep_alive_timeout
        super()._start_asgi_task(cycle, app)

    def _begin(self, reading: _Reading) -> None:
        self._reading, self._since = reading, self.loop.time()

    def _mark_idle(self) -> None:
        if self._reading is not _Reading.BODY and not self._is_answering():
            self._connections.mark_idle(self)

    def _reject(self, reason: str) -> None:
        """Stop the parser, which raises this as its own error: uvicorn then answers 400."""
        self._rejection = reason
        raise httptools.HttpParserError(reason)


_BAD_REQUEST_HEAD: Final = (
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/problem+json\r\n"
    b"cache-control: no-store\r\nx-content-type-options: nosniff\r\nconnection: close\r\n"
    b"content-length: "
)


def _set_unacknowledged_timeout(transport: asyncio.Transport, timeout: timedelta) -> None:
    """Let the kernel end a connection whose other side has vanished without a word."""
    connection = transport.get_extra_info("socket")
    if connection is not None and connection.family in {socket.AF_INET, socket.AF_INET6}:
        milliseconds = timeout // timedelta(milliseconds=1)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
