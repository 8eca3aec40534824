"""One pipelined connection to Redis. Knows the wire and its failures; knows no keys and no meaning.

Commands of concurrent callers that fall into one turn of the event loop leave in one write, and
their answers are read in order, so that a busy process pays one round trip for many of them.
"""

import asyncio
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from datetime import timedelta
from typing import Any, Final, Protocol, Self

import hiredis
from redis.asyncio import Sentinel, SentinelConnectionPool
from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ReadOnlyError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from core.errors import StoreSilent, StoreUnavailable
from core.settings import RedisPolicy
from core.store.connection import RETRY_AFTER, PendingCommand, RedisConnection, RoundTripObserver

Argument = bytes | str | int | float

STORE_ERRORS: Final = (RedisError, OSError, TimeoutError, EOFError)
"""What redis-py raises when Redis is away; for the code that hands redis-py to a library."""


def ttl_seconds(span: timedelta) -> int:
    """Return a span in whole seconds, as Redis's EXPIRE takes it."""
    return int(span.total_seconds())


class ConnectionSource(Protocol):
    """Where `Wire` gets a fresh, unconnected connection; redis-py's pools are such sources."""

    def make_connection(self) -> AbstractConnection:
        """A connection to the present master."""
        ...


def build_connection_pool(policy: RedisPolicy, process_name: str) -> ConnectionPool:
    """redis-py's own pool, for its URL, TLS and Sentinel knowledge.

    `process` names our connections.
    """
    options: dict[str, Any] = {
        "client_name": f"runcomfy-gateway-{process_name}",
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


def build_retrying_pool(policy: RedisPolicy, process_name: str) -> ConnectionPool:
    """The same, for arq, which has no patience of its own. More tries nest, and block for long."""
    pool = build_connection_pool(policy, process_name)
    pool.connection_kwargs |= {
        "retry": Retry(ExponentialBackoff(cap=1, base=0.05), 4),
        "retry_on_error": [RedisConnectionError, RedisTimeoutError, ReadOnlyError, OSError],
    }
    return pool


def _pack_command(command: tuple[Argument, ...]) -> bytes:
    packed: bytes = hiredis.pack_command(command)  # type: ignore[arg-type]  # typed for one part only
    return packed


async def _close_sentinels(source: ConnectionSource) -> None:
    """What the search for the master left open."""
    if isinstance(source, SentinelConnectionPool):
        for client in source.sentinel_manager.sentinels:
            await client.aclose()


class RedisClient:
    """Sends commands, many at a time, over one connection that is opened when first needed.

    A connection that breaks fails everything that waits on it and repeats nothing: with
    `StoreSilent` what was written (whether it was carried out is unknown, and only its sender can
    judge), with `StoreUnavailable` what was not.
    """

    def __init__(self, source: ConnectionSource, observer: RoundTripObserver | None = None) -> None:
        """Take connections from `source`."""
        self._source = source
        self._observer = observer
        self._unsent: deque[PendingCommand] = deque()
        self._connection: RedisConnection | None = None
        self._send_scheduled = False
        self._session_task: asyncio.Task[None] | None = None
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
        if self._session_task is not None:
            self._session_task.cancel()
            with suppress(asyncio.CancelledError):
                await self._session_task
        await _close_sentinels(self._source)

    async def execute(self, *command: Argument) -> Any:  # noqa: ANN401 - Redis answers in many types
        """One command's answer, undecoded.

        Raises `StoreUnavailable`, `ScriptMissing`, `ResponseError`.
        """
        if self._closed:
            raise StoreUnavailable("The store's connection was closed.")
        loop = asyncio.get_running_loop()
        pending = PendingCommand(_pack_command(command), loop.create_future())
        self._unsent.append(pending)
        if self._connection is None:
            self._ensure_session()
        elif not self._send_scheduled:
            self._send_scheduled = True
            loop.call_soon(self._send)
        return await pending.reply

    async def execute_or_none(self, *command: Argument) -> Any | None:  # noqa: ANN401 - as `execute`
        """As `execute`, but None where Redis refuses the command (managed servers close some)."""
        try:
            return await self.execute(*command)
        except ResponseError:
            return None

    def _ensure_session(self, _: object = None) -> None:
        """A session runs while a command waits, also one that came as the last was closing."""
        if (
            self._unsent
            and not self._closed
            and (self._session_task is None or self._session_task.done())
        ):
            self._session_task = asyncio.create_task(self._run_session())
            self._session_task.add_done_callback(self._ensure_session)

    async def _run_session(self) -> None:
        """One connection's life: open it, send what waits, until it ends."""
        connection = self._source.make_connection()
        line: RedisConnection | None = None
        why: BaseException | None = None
        try:
            await connection.connect()  # type: ignore[no-untyped-call]  # redis-py 5
            self._cancel_if_closed()
            line = self._connection = RedisConnection(connection, self._observer)
            self._send()
            why = await line.closed
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - whoever waits must hear of it
            why = error
        finally:
            self._connection = None
            if line is not None:
                line.close()
            # What waits unsent goes over the next connection, if this one was lost while idle.
            if why is not None:
                self._fail_pending(line.in_flight if line else (), why)
            await connection.disconnect(nowait=True)

    def _cancel_if_closed(self) -> None:
        """A cancellation that comes while redis-py connects can get lost in it."""
        if self._closed:
            raise asyncio.CancelledError

    def _send(self) -> None:
        """Write everything that came in this turn of the loop."""
        self._send_scheduled = False
        if self._connection is None or not self._connection.is_usable:
            return
        batch = [pending for pending in self._unsent if not pending.reply.done()]
        self._unsent.clear()
        if batch:
            self.round_trips += 1
            self.commands += len(batch)
            self._connection.send(batch)

    def _fail_pending(self, unanswered: Iterable[PendingCommand], error: BaseException) -> None:
        cancelled = isinstance(error, asyncio.CancelledError)
        why = None if cancelled else f"The store does not answer ({type(error).__name__})."
        for waiting, kind in ((unanswered, StoreSilent), (self._unsent, StoreUnavailable)):
            for pending in waiting:
                if not pending.reply.done():
                    pending.reply.set_exception(kind(why, retry_after=RETRY_AFTER))
        self._unsent.clear()
