"""One open connection to Redis: writes commands, settles their answers in order, notices silence.

Knows bytes and the answers that are errors; how a connection is made and what follows its end is
the affair of `core.store.client`.
"""

import asyncio
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, cast

import hiredis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import (
    AuthenticationError,
    InvalidResponse,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from core.clock import Clock
from core.errors import StoreUnavailable
from core.observability.events import Emit, RedisAnswered

RETRY_AFTER: Final = timedelta(seconds=2)
_NOT_WRITABLE_CODES: Final = ("MISCONF", "NOREPLICAS", "MASTERDOWN")
"""Refusals by which Redis says that it takes no writes for now; the command was not carried out."""
_INCOMPLETE: Final = object()
"""hiredis's answer where the bytes so far hold no whole one."""


class ScriptMissing(Exception):
    """Redis does not hold the script: it was never loaded there, or Redis was restarted."""


@dataclass(slots=True)
class PendingCommand:
    """A command as it goes over the wire, and whoever waits for its answer."""

    payload: bytes
    reply: asyncio.Future[Any]
    sent_at: timedelta | None = None
    """Set on the first of a batch: its answer ends a round trip."""


@dataclass(frozen=True, slots=True)
class RoundTripObserver:
    """Who is told how long round trips take."""

    clock: Clock
    emit: Emit


class RedisConnection(asyncio.Protocol):
    """Takes over a connection that redis-py has opened, logged in and will close.

    redis-py's own way costs a task for each write and a timer for each answer, more than all else
    that the gateway does with Redis.
    """

    def __init__(self, connection: AbstractConnection, observer: RoundTripObserver | None) -> None:
        """Take `connection` over; nothing is under way on it."""
        self.in_flight: deque[PendingCommand] = deque()
        self.closed: asyncio.Future[BaseException | None] = (
            asyncio.get_running_loop().create_future()
        )
        """Why it can be used no more; None: Redis closed it while nothing was under way."""
        self._observer = observer
        self._timeout = float(connection.socket_timeout or 0)
        self._timer: asyncio.TimerHandle | None = None
        self._last_received_at = 0.0
        self._reader = hiredis.Reader(
            protocolError=InvalidResponse,
            replyError=connection._parser.parse_error,  # noqa: SLF001 - its table of Redis's errors
            notEnoughData=_INCOMPLETE,
        )
        # redis-py has no other way to let one read without a task and a timer for each answer.
        writer = cast("asyncio.StreamWriter", connection._writer)  # noqa: SLF001
        self._transport = cast("asyncio.Transport", writer.transport)
        if connection._reader is None or connection._reader.at_eof():  # noqa: SLF001
            raise RedisConnectionError("closed while it was opened")
        self._transport.set_protocol(self)

    @property
    def is_usable(self) -> bool:
        """Whether what is sent may arrive."""
        return not self.closed.done() and not self._transport.is_closing()

    def send(self, batch: Iterable[PendingCommand]) -> None:
        """Write commands; the first one is timed."""
        batch = list(batch)
        if self._observer is not None:
            batch[0].sent_at = self._observer.clock.monotonic()
        if not self.in_flight:
            self._last_received_at = asyncio.get_running_loop().time()
        self.in_flight.extend(batch)
        self._transport.write(b"".join([pending.payload for pending in batch]))
        if self._timer is None:
            self._start_timer(self._timeout)

    def data_received(self, data: bytes) -> None:
        """Settle every answer that is whole."""
        self._last_received_at = asyncio.get_running_loop().time()
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not _INCOMPLETE:
                self._handle_reply(reply)
        except Exception as error:  # noqa: BLE001 - whatever it is, no later answer can be told whose
            self._terminate(error)

    def eof_received(self) -> None:
        """Redis closed its side."""
        self._terminate(RedisConnectionError("Redis closed the connection"))

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._terminate(exc or RedisConnectionError("Redis closed the connection"))

    def close(self) -> None:
        """Listen no more; the connection itself is redis-py's to close."""
        if self._timer is not None:
            self._timer.cancel()
        if not self.closed.done():
            self.closed.set_result(None)

    def _handle_reply(self, reply: object) -> None:
        pending = self.in_flight.popleft()
        if self._observer is not None and pending.sent_at is not None:
            took = self._observer.clock.monotonic() - pending.sent_at
            self._observer.emit(RedisAnswered(took))
        if not isinstance(reply, Exception):
            if not pending.reply.done():
                pending.reply.set_result(reply)
            return
        try:
            outcome = classify_reply_error(reply)
        except Exception:
            self.in_flight.appendleft(pending)  # it fails with all that wait behind it
            raise
        if not pending.reply.done():
            pending.reply.set_exception(outcome)
        if isinstance(reply, ReadOnlyError):
            # A former master: a new connection leads to the present one.
            raise RedisConnectionError("a former master")

    def _start_timer(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(seconds, self._on_timer) if self._timeout else None

    def _on_timer(self) -> None:
        self._timer = None
        if not self.in_flight or self.closed.done():
            return
        silent = asyncio.get_running_loop().time() - self._last_received_at
        if silent < self._timeout:
            self._start_timer(self._timeout - silent)
        else:
            self._terminate(RedisTimeoutError("Redis fell silent"))

    def _terminate(self, reason: BaseException) -> None:
        if not self.closed.done():
            self.closed.set_result(reason if self.in_flight else None)


def classify_reply_error(error: Exception) -> Exception:
    """What a caller is told of an answer that is an error; raises what ends the connection."""
    match error:
        case NoScriptError():
            return ScriptMissing()
        case AuthenticationError():
            raise error
        case ReadOnlyError():
            return StoreUnavailable("The store is a replica now.", retry_after=RETRY_AFTER)
        case OutOfMemoryError():
            return StoreUnavailable(f"The store is full ({error}).", retry_after=RETRY_AFTER)
        case ResponseError() if str(error).startswith(_NOT_WRITABLE_CODES):
            return StoreUnavailable("The store cannot write.", retry_after=RETRY_AFTER)
        case ResponseError():
            return error
    raise error
