"""One open connection to Redis: sends commands, completes them in order, detects a timeout.

`core.store.client` opens connections and decides what follows their end.
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
from core.errors import StoreRefused, StoreUnavailable
from core.observability.events import Emit, RedisAnswered

RETRY_AFTER: Final = timedelta(seconds=2)
_NOT_WRITABLE_CODES: Final = ("MISCONF", "NOREPLICAS", "MASTERDOWN")
"""Errors of a Redis that accepts no writes at present; the command was not executed."""
_INCOMPLETE: Final = object()
"""What hiredis returns while an answer is not complete."""


class ScriptMissing(Exception):
    """Redis does not have the script: it was never loaded, or Redis was restarted."""


@dataclass(slots=True)
class PendingCommand:
    """An encoded command and the future of its answer."""

    payload: bytes
    reply: asyncio.Future[Any]
    sent_at: timedelta | None = None
    """Set for the first command of a write only: its answer ends the round trip."""


@dataclass(frozen=True, slots=True)
class RoundTripObserver:
    """Emits the duration of each round trip."""

    clock: Clock
    emit: Emit


class RedisConnection(asyncio.Protocol):
    """Reads and writes on a connection that redis-py has opened and authenticated, and closes.

    redis-py itself creates a task for each write and a timer for each answer, which cost more than
    everything else that the gateway does with Redis.
    """

    def __init__(self, connection: AbstractConnection, observer: RoundTripObserver | None) -> None:
        """Replace the protocol of `connection`, which must be idle."""
        self.in_flight: deque[PendingCommand] = deque()
        self.closed: asyncio.Future[BaseException | None] = (
            asyncio.get_running_loop().create_future()
        )
        """The error that ended the connection; None if no command was pending then."""
        self._observer = observer
        self._timeout = float(connection.socket_timeout or 0)
        self._timer: asyncio.TimerHandle | None = None
        self._last_received_at = 0.0
        self._reader = hiredis.Reader(
            protocolError=InvalidResponse,
            replyError=connection._parser.parse_error,  # noqa: SLF001 - its mapping of Redis's errors
            notEnoughData=_INCOMPLETE,
        )
        # redis-py has no public access to the transport.
        writer = cast("asyncio.StreamWriter", connection._writer)  # noqa: SLF001
        self._transport = cast("asyncio.Transport", writer.transport)
        if connection._reader is None or connection._reader.at_eof():  # noqa: SLF001
            raise RedisConnectionError("closed while connecting")
        self._transport.set_protocol(self)

    @property
    def is_usable(self) -> bool:
        """Whether commands can be sent."""
        return not self.closed.done() and not self._transport.is_closing()

    def send(self, batch: Iterable[PendingCommand]) -> None:
        """Send commands in one write; the first one's answer ends the measured round trip."""
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
        """Complete commands with the answers received so far."""
        self._last_received_at = asyncio.get_running_loop().time()
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not _INCOMPLETE:
                self._handle_reply(reply)
        except Exception as error:  # noqa: BLE001 - after any error, answers no longer match commands
            self._terminate(error)

    def eof_received(self) -> None:
        """See `asyncio.Protocol`."""
        self._terminate(RedisConnectionError("Redis closed the connection"))

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._terminate(exc or RedisConnectionError("Redis closed the connection"))

    async def abandon(self, reason: str = "another server is the master now") -> None:
        """End the connection: its server must not be used any more."""
        self._terminate(RedisConnectionError(reason))

    def close(self) -> None:
        """Stop the timer; redis-py closes the connection itself."""
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
            self.in_flight.appendleft(pending)  # fails with all later commands
            raise
        if not pending.reply.done():
            pending.reply.set_exception(outcome)
        if isinstance(reply, ReadOnlyError):
            # A demoted master: a new connection reaches the current one.
            raise RedisConnectionError("a demoted master")

    def _start_timer(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(seconds, self._on_timer) if self._timeout else None

    def _on_timer(self) -> None:
        self._timer = None
        if not self.in_flight or self.closed.done():
            return
        idle = asyncio.get_running_loop().time() - self._last_received_at
        if idle < self._timeout:
            self._start_timer(self._timeout - idle)
        else:
            self._terminate(RedisTimeoutError("Redis did not answer in time"))

    def _terminate(self, reason: BaseException) -> None:
        if not self.closed.done():
            self.closed.set_result(reason if self.in_flight else None)


def classify_reply_error(error: Exception) -> Exception:
    """Return the error for the caller of a command; raise one that must end the connection."""
    match error:
        case NoScriptError():
            return ScriptMissing()
        case AuthenticationError():
            raise error
        case ReadOnlyError():
            return StoreUnavailable("The store is a replica now.", retry_after=RETRY_AFTER)
        case OutOfMemoryError():
            return StoreUnavailable("The store is full.", retry_after=RETRY_AFTER)
        case ResponseError() if str(error).startswith(_NOT_WRITABLE_CODES):
            return StoreUnavailable("The store cannot write.", retry_after=RETRY_AFTER)
        case ResponseError():
            # Its text may name scripts and keys, which are no caller's business.
            refused = StoreRefused(retry_after=RETRY_AFTER, operator_detail=str(error))
            refused.__cause__ = error
            return refused
    raise error
