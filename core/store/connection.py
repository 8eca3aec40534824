"""One pipelined connection to Redis. Knows the wire and its failures; knows no keys and no meaning.

Commands of concurrent callers that fall into one turn of the event loop leave in one write, and
their answers are read in order, so that a busy process pays one round trip for many of them.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Protocol, Self

from redis.asyncio import Sentinel
from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.exceptions import (
    AuthenticationError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from core.clock import Clock
from core.errors import StoreSilent, StoreUnavailable
from core.events import Emit, StoreAnswered
from core.settings import RedisPolicy

Argument = bytes | str | int | float
_RETRY_AFTER = timedelta(seconds=2)


_DEMOTED: Final = object()
"""The answer of a former master: the connection is given up, a new one leads to the present one."""
_CANNOT_WRITE: Final = ("MISCONF", "NOREPLICAS", "MASTERDOWN")
"""Refusals by which Redis says that it takes no writes for now; the command was not carried out."""


class ScriptMissing(Exception):
    """Redis does not hold the script: it was never loaded there, or Redis was restarted."""


class _HungUp(Exception):
    """Redis closed the connection while nothing was under way."""


STORE_ERRORS: Final = (RedisError, OSError, TimeoutError, EOFError)
"""What redis-py raises when Redis is away; for the code that hands redis-py to a library."""


class ConnectionSource(Protocol):
    """Where `Wire` gets a fresh, unconnected connection; redis-py's pools are such sources."""

    def make_connection(self) -> AbstractConnection:
        """A connection to the present master."""
        ...


def connection_source(policy: RedisPolicy, process: str) -> ConnectionPool:
    """redis-py's own pool, for its URL, TLS and Sentinel knowledge.

    `process` names our connections.
    """
    options: dict[str, Any] = {
        "client_name": f"runcomfy-gateway-{process}",
        "socket_connect_timeout": policy.connect_timeout.total_seconds(),
        "socket_timeout": policy.timeout.total_seconds(),
        "retry": Retry(NoBackoff(), 0),
    }
    url = policy.url.get_secret_value()
    if url.startswith("rediss://"):
        options["ssl_check_hostname"] = True
    if not policy.sentinels:
        pool = ConnectionPool.from_url(url, **options)
        # An option that redis-py does not know must end the process now, not each connection.
        pool.make_connection()  # type: ignore[no-untyped-call]  # redis-py 5
        return pool
    known = ConnectionPool.from_url(url).connection_kwargs
    login = {k: known[k] for k in ("db", "username", "password") if k in known}
    sentinel: Any = Sentinel(  # type: ignore[no-untyped-call]  # redis-py 5 leaves it untyped
        list(policy.sentinels), sentinel_kwargs=options
    )
    master: ConnectionPool = sentinel.master_for(policy.master, **options, **login).connection_pool
    return master


def retrying_source(policy: RedisPolicy, process: str) -> ConnectionPool:
    """The same, for arq, which has no patience of its own. More tries nest, and block for long."""
    pool = connection_source(policy, process)
    pool.connection_kwargs |= {
        "retry": Retry(ExponentialBackoff(cap=1, base=0.05), 4),
        "retry_on_error": [RedisConnectionError, RedisTimeoutError, ReadOnlyError, OSError],
    }
    return pool


@dataclass(slots=True)
class _Pending:
    command: Sequence[Argument]
    answer: asyncio.Future[Any]
    sent_at: timedelta | None = None
    """Set on the first of a batch: its answer ends a round trip."""


@dataclass(frozen=True, slots=True)
class Watch:
    """Who is told how long round trips take."""

    clock: Clock
    emit: Emit


class Wire:
    """Sends commands, many at a time, over one connection that is opened when first needed.

    A connection that breaks fails everything that waits on it and repeats nothing: with
    `StoreSilent` what was written (whether it was carried out is unknown, and only its sender can
    judge), with `StoreUnavailable` what was not.
    """

    def __init__(self, source: ConnectionSource, watch: Watch | None = None) -> None:
        """Take connections from `source`."""
        self._source = source
        self._watch = watch
        self._unsent: deque[_Pending] = deque()
        self._wake = asyncio.Event()
        self._session: asyncio.Task[None] | None = None
        self._closed = False
        self.round_trips = 0
        """Writes so far: a count for tests and metrics."""
        self.commands = 0
        """Commands so far."""

    async def __aenter__(self) -> Self:
        """Nothing is opened yet: the first command does that."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connection; whoever still waits is told `StoreUnavailable`."""
        self._closed = True
        if self._session is not None:
            self._session.cancel()
            with suppress(asyncio.CancelledError):
                await self._session

    async def execute(self, *command: Argument) -> Any:  # noqa: ANN401 - Redis answers in many types
        """One command's answer, undecoded.

        Raises `StoreUnavailable`, `ScriptMissing`, `ResponseError`.
        """
        if self._closed:
            raise StoreUnavailable("The store's connection was closed.")
        pending = _Pending(command, asyncio.get_running_loop().create_future())
        self._unsent.append(pending)
        self._wake.set()
        self._keep_serving()
        return await pending.answer

    async def attempt(self, *command: Argument) -> Any | None:  # noqa: ANN401 - as `execute`
        """As `execute`, but None where Redis refuses the command (managed servers close some)."""
        try:
            return await self.execute(*command)
        except ResponseError:
            return None

    def _keep_serving(self, _: object = None) -> None:
        """A session runs while a command waits, also one that came as the last was closing."""
        if self._unsent and not self._closed and (self._session is None or self._session.done()):
            self._session = asyncio.create_task(self._serve())
            self._session.add_done_callback(self._keep_serving)

    async def _serve(self) -> None:
        """One connection's life: connect, then write and read until either fails."""
        connection = self._source.make_connection()
        unanswered: deque[_Pending] = deque()
        arrived = asyncio.Event()
        try:
            await connection.connect()  # type: ignore[no-untyped-call]  # redis-py 5
            self._stop_if_closed()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._write(connection, unanswered, arrived))
                tasks.create_task(self._read(connection, unanswered, arrived))
        except* (RedisError, OSError, TimeoutError, EOFError) as errors:
            self._fail(unanswered, errors.exceptions[0])
        except* _HungUp:
            pass  # nothing was written: what waits goes over the next connection
        except* asyncio.CancelledError:
            self._fail(unanswered, None)
        finally:
            await connection.disconnect(nowait=True)

    def _stop_if_closed(self) -> None:
        """A cancellation that comes while redis-py connects can get lost in it."""
        if self._closed:
            raise asyncio.CancelledError

    async def _write(
        self,
        connection: AbstractConnection,
        unanswered: deque[_Pending],
        arrived: asyncio.Event,
    ) -> None:
        while True:
            await self._wake.wait()
            if not unanswered and _hung_up(connection):
                raise _HungUp
            self._wake.clear()
            batch = [p for p in self._unsent if not p.answer.done()]
            self._unsent.clear()
            if not batch:
                continue
            if self._watch is not None:
                batch[0].sent_at = self._watch.clock.monotonic()
            unanswered.extend(batch)
            self.round_trips += 1
            self.commands += len(batch)
            await connection.send_packed_command(
                connection.pack_commands([p.command for p in batch]), check_health=False
            )
            arrived.set()

    async def _read(
        self,
        connection: AbstractConnection,
        unanswered: deque[_Pending],
        arrived: asyncio.Event,
    ) -> None:
        while True:
            await arrived.wait()
            arrived.clear()
            while unanswered:
                outcome = await _answer(connection)
                answered = unanswered.popleft()
                self._tell(answered)
                _settle(answered.answer, outcome)
                if outcome is _DEMOTED:
                    raise RedisConnectionError("a former master")

    def _tell(self, answered: _Pending) -> None:
        if self._watch is not None and answered.sent_at is not None:
            self._watch.emit(StoreAnswered(self._watch.clock.monotonic() - answered.sent_at))

    def _fail(self, unanswered: deque[_Pending], error: BaseException | None) -> None:
        why = f"The store does not answer ({type(error).__name__})." if error else None
        for waiting, kind in ((unanswered, StoreSilent), (self._unsent, StoreUnavailable)):
            for pending in waiting:
                if not pending.answer.done():
                    pending.answer.set_exception(kind(why, retry_after=_RETRY_AFTER))
        self._unsent.clear()


def _hung_up(connection: AbstractConnection) -> bool:
    """Whether Redis closed an idle connection, which nobody reads; a write would be lost in it."""
    reader = connection._reader  # noqa: SLF001 - redis-py shows it only by reading, a turn of the loop
    return reader is None or reader.at_eof() or reader.exception() is not None


async def _answer(connection: AbstractConnection) -> Any:  # noqa: ANN401 - Redis answers in many types
    """The next answer, or the error that is its own; what ends the connection is raised."""
    try:
        return await connection.read_response(disable_decoding=True)
    except NoScriptError:
        return ScriptMissing()
    except AuthenticationError:
        raise
    except ReadOnlyError:
        return _DEMOTED
    except OutOfMemoryError as error:
        return StoreUnavailable(f"The store is full ({error}).", retry_after=_RETRY_AFTER)
    except ResponseError as error:
        if str(error).startswith(_CANNOT_WRITE):
            return StoreUnavailable("The store cannot write.", retry_after=_RETRY_AFTER)
        return error


def _settle(answer: asyncio.Future[Any], outcome: object) -> None:
    if answer.done():
        return
    if outcome is _DEMOTED:
        why = "The store is a replica now."
        answer.set_exception(StoreUnavailable(why, retry_after=_RETRY_AFTER))
    elif isinstance(outcome, Exception):
        answer.set_exception(outcome)
    else:
        answer.set_result(outcome)
