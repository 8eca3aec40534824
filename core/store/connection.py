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
_CANNOT_WRITE: Final = ("MISCONF", "NOREPLICAS", "MASTERDOWN")
"""Refusals by which Redis says that it takes no writes for now; the command was not carried out."""
_NOTHING: Final = object()
"""hiredis's answer where the bytes so far hold no whole one."""


class ScriptMissing(Exception):
    """Redis does not hold the script: it was never loaded there, or Redis was restarted."""


@dataclass(slots=True)
class Pending:
    """A command as it goes over the wire, and whoever waits for its answer."""

    packed: bytes
    answer: asyncio.Future[Any]
    sent_at: timedelta | None = None
    """Set on the first of a batch: its answer ends a round trip."""


@dataclass(frozen=True, slots=True)
class Watch:
    """Who is told how long round trips take."""

    clock: Clock
    emit: Emit


class Line(asyncio.Protocol):
    """Takes over a connection that redis-py has opened, logged in and will close.

    redis-py's own way costs a task for each write and a timer for each answer, more than all else
    that the gateway does with Redis.
    """

    def __init__(self, connection: AbstractConnection, watch: Watch | None) -> None:
        """Take `connection` over; nothing is under way on it."""
        self.unanswered: deque[Pending] = deque()
        self.ended: asyncio.Future[BaseException | None] = (
            asyncio.get_running_loop().create_future()
        )
        """Why it can be used no more; None: Redis closed it while nothing was under way."""
        self._watch = watch
        self._patience = float(connection.socket_timeout or 0)
        self._timer: asyncio.TimerHandle | None = None
        self._heard_at = 0.0
        self._replies = hiredis.Reader(
            protocolError=InvalidResponse,
            replyError=connection._parser.parse_error,  # noqa: SLF001 - its table of Redis's errors
            notEnoughData=_NOTHING,
        )
        # redis-py has no other way to let one read without a task and a timer for each answer.
        writer = cast("asyncio.StreamWriter", connection._writer)  # noqa: SLF001
        self._transport = cast("asyncio.Transport", writer.transport)
        if connection._reader is None or connection._reader.at_eof():  # noqa: SLF001
            raise RedisConnectionError("closed while it was opened")
        self._transport.set_protocol(self)

    @property
    def usable(self) -> bool:
        """Whether what is sent may arrive."""
        return not self.ended.done() and not self._transport.is_closing()

    def send(self, batch: Iterable[Pending]) -> None:
        """Write commands; the first one is timed."""
        batch = list(batch)
        if self._watch is not None:
            batch[0].sent_at = self._watch.clock.monotonic()
        if not self.unanswered:
            self._heard_at = asyncio.get_running_loop().time()
        self.unanswered.extend(batch)
        self._transport.write(b"".join([pending.packed for pending in batch]))
        if self._timer is None:
            self._listen_for(self._patience)

    def data_received(self, data: bytes) -> None:
        """Settle every answer that is whole."""
        self._heard_at = asyncio.get_running_loop().time()
        try:
            self._replies.feed(data)
            while (reply := self._replies.gets()) is not _NOTHING:
                self._take(reply)
        except Exception as error:  # noqa: BLE001 - whatever it is, no later answer can be told whose
            self._end(error)

    def eof_received(self) -> None:
        """Redis closed its side."""
        self._end(RedisConnectionError("Redis closed the connection"))

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._end(exc or RedisConnectionError("Redis closed the connection"))

    def close(self) -> None:
        """Listen no more; the connection itself is redis-py's to close."""
        if self._timer is not None:
            self._timer.cancel()
        if not self.ended.done():
            self.ended.set_result(None)

    def _take(self, reply: object) -> None:
        pending = self.unanswered.popleft()
        if self._watch is not None and pending.sent_at is not None:
            took = self._watch.clock.monotonic() - pending.sent_at
            self._watch.emit(RedisAnswered(took))
        if not isinstance(reply, Exception):
            if not pending.answer.done():
                pending.answer.set_result(reply)
            return
        try:
            outcome = judged(reply)
        except Exception:
            self.unanswered.appendleft(pending)  # it fails with all that wait behind it
            raise
        if not pending.answer.done():
            pending.answer.set_exception(outcome)
        if isinstance(reply, ReadOnlyError):
            # A former master: a new connection leads to the present one.
            raise RedisConnectionError("a former master")

    def _listen_for(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(seconds, self._tired) if self._patience else None

    def _tired(self) -> None:
        self._timer = None
        if not self.unanswered or self.ended.done():
            return
        silent = asyncio.get_running_loop().time() - self._heard_at
        if silent < self._patience:
            self._listen_for(self._patience - silent)
        else:
            self._end(RedisTimeoutError("Redis fell silent"))

    def _end(self, why: BaseException) -> None:
        if not self.ended.done():
            self.ended.set_result(why if self.unanswered else None)


def judged(error: Exception) -> Exception:
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
        case ResponseError() if str(error).startswith(_CANNOT_WRITE):
            return StoreUnavailable("The store cannot write.", retry_after=RETRY_AFTER)
        case ResponseError():
            return error
    raise error
