"""A pipelining Redis client: one connection for all concurrent callers of a process.

Commands issued in the same iteration of the event loop are sent in one write and their answers are
read in order, so that a busy process pays one round trip for many commands.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any, Final, Protocol, Self

import hiredis
from redis.asyncio import SentinelConnectionPool
from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ReadOnlyError, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from core.errors import StoreRefused, StoreTimeout, StoreUnavailable, StoreUnsupported
from core.settings.definitions import RedisPolicy
from core.store.connection import RETRY_AFTER, PendingCommand, RedisConnection, RoundTripObserver
from core.store.outage import REDIS_URL, describe_outage
from core.store.sentinel import build_sentinel_pool, watched_master
from core.store.server_check import UnsupportedServer, connect_to_own_store

Argument = bytes | str | int | float

STORE_ERRORS: Final = (RedisError, OSError, TimeoutError, EOFError)
"""What redis-py raises when Redis is unavailable; for code that gives redis-py to a library."""


REPLICATION_TIMEOUT: Final = timedelta(milliseconds=500)
"""How long a write waits for its replicas. Commands behind it on the connection wait too."""


def _ms(span: timedelta) -> int:
    return span // timedelta(milliseconds=1)


def _retrieve_exception(reply: asyncio.Future[Any]) -> None:
    """Keep asyncio from logging an exception that no caller was left to get."""
    if not reply.cancelled():
        reply.exception()


def ttl_seconds(span: timedelta) -> int:
    """Return a span in whole seconds, as Redis's EXPIRE takes it."""
    return int(span.total_seconds())


class ConnectionSource(Protocol):
    """Creates connections for `RedisClient`. redis-py's pools implement it."""

    def make_connection(self) -> AbstractConnection:
        """Return a new, unconnected connection to the current master."""
        ...


def build_connection_pool(policy: RedisPolicy, process_name: str) -> ConnectionPool:
    """Return redis-py's pool, which parses URLs and knows TLS and Sentinel.

    `process_name` is shown by Redis's CLIENT LIST.
    """
    options: dict[str, Any] = {
        "client_name": f"runcomfy-gateway-{process_name}",
        # Servers before Redis 7.2 know no CLIENT SETINFO, so no rule of an ACL can permit it.
        "lib_name": None,
        "lib_version": None,
        "socket_connect_timeout": policy.connect_timeout.total_seconds(),
        "socket_timeout": policy.timeout.total_seconds(),
        "retry": Retry(NoBackoff(), 0),
        "redis_connect_func": partial(connect_to_own_store, account=policy.account),
    }
    url = policy.url.get_secret_value()
    if url.startswith("rediss://"):
        options["ssl_check_hostname"] = True
    if not policy.sentinels:
        pool = ConnectionPool.from_url(url, **options)
        # An unknown option in the URL must fail at the start, not with every connection.
        pool.make_connection()  # type: ignore[no-untyped-call]  # redis-py 5
        return pool
    return build_sentinel_pool(policy, options)


def build_retrying_pool(policy: RedisPolicy, process_name: str) -> ConnectionPool:
    """Return a pool that retries, for arq, which does not. More retries would block for long."""
    pool = build_connection_pool(policy, process_name)
    pool.connection_kwargs |= {
        "retry": Retry(ExponentialBackoff(cap=1, base=0.05), 4),
        "retry_on_error": [RedisConnectionError, RedisTimeoutError, ReadOnlyError, OSError],
    }
    return pool


_pack_command: Final[Callable[[tuple[Argument, ...]], bytes]] = hiredis.pack_command  # type: ignore[assignment]  # typed for one part only


async def _close_sentinels(source: ConnectionSource) -> None:
    # redis-py keeps the connections to the Sentinels open.
    if isinstance(source, SentinelConnectionPool):
        for client in source.sentinel_manager.sentinels:
            await client.aclose()


class RedisClient:
    """Sends commands over one connection, which is opened by the first command.

    When the connection breaks, every pending command fails and none is repeated: with
    `StoreTimeout` if it was sent (Redis may have executed it; only the caller can decide what to
    do), otherwise with `StoreUnavailable`.
    """

    def __init__(
        self,
        source: ConnectionSource,
        observer: RoundTripObserver | None = None,
        setting: str = REDIS_URL,
        replicas: int = 0,
    ) -> None:
        """Take connections from `source`; `observer` gets the duration of each round trip.

        `setting` is the one that names the server, for operators. `replicas`: how many must have
        a write of `execute_replicated`.
        """
        self._source = source
        self._setting = setting
        self._replicas = replicas
        self._unsent_wait: PendingCommand | None = None
        self._observer = observer
        self._unsent: deque[PendingCommand] = deque()
        self._connection: RedisConnection | None = None
        self._send_scheduled = False
        self._session_task: asyncio.Task[None] | None = None
        self._closed = False
        self.round_trips = 0
        """Number of writes so far, for tests."""
        self.connections = 0
        """Number of connections that were opened so far."""
        self.commands = 0
        """Number of commands so far, for tests."""

    async def __aenter__(self) -> Self:
        """Open nothing: the first command does."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connection; pending commands fail with `StoreUnavailable`."""
        self._closed = True
        if self._session_task is not None:
            self._session_task.cancel()
            with suppress(asyncio.CancelledError):
                await self._session_task
        await _close_sentinels(self._source)

    async def execute(self, *command: Argument) -> Any:  # noqa: ANN401 - Redis answers in many types
        """Return the answer to a command, undecoded.

        Raises `StoreUnavailable`, `ScriptMissing`.
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

    async def execute_replicated(self, *command: Argument) -> Any:  # noqa: ANN401 - as `execute`
        """As `execute`, and return only once `replicas` replicas have what the command wrote.

        Raises `StoreTimeout` if they do not have it in time: a fail-over may lose it. All such
        commands of one write share one WAIT, which follows them on the same connection: on another
        one it could ask another server.
        """
        if not self._replicas:
            return await self.execute(*command)
        if self._unsent_wait is None:
            wait = _pack_command(("WAIT", self._replicas, _ms(REPLICATION_TIMEOUT)))
            self._unsent_wait = PendingCommand(wait, asyncio.get_running_loop().create_future())
            # It has no waiter if the command itself fails.
            self._unsent_wait.reply.add_done_callback(_retrieve_exception)
        acknowledged = self._unsent_wait.reply
        answer = await self.execute(*command)
        if await asyncio.shield(acknowledged) < self._replicas:
            raise StoreTimeout("Too few replicas of the store have it.", retry_after=RETRY_AFTER)
        return answer

    async def execute_or_none(self, *command: Argument) -> Any | None:  # noqa: ANN401 - as `execute`
        """As `execute`, but None if Redis rejects the command: managed servers disable some."""
        try:
            return await self.execute(*command)
        except StoreRefused:
            return None

    async def disconnect(self) -> None:
        """End the connection, if there is one; the next command opens another one."""
        if self._connection is not None:
            await self._connection.abandon("the store is to be checked again")

    def _ensure_session(self, _: object = None) -> None:
        # A command may arrive while the last session is closing: its end starts the next one.
        if (
            self._unsent
            and not self._closed
            and (self._session_task is None or self._session_task.done())
        ):
            self._session_task = asyncio.create_task(self._run_session())
            self._session_task.add_done_callback(self._ensure_session)

    async def _run_session(self) -> None:
        """Open a connection and send pending commands over it until it ends."""
        connection = self._source.make_connection()
        opened: RedisConnection | None = None
        why: BaseException | None = None
        try:
            await connection.connect()  # type: ignore[no-untyped-call]  # redis-py 5
            self._cancel_if_closed()
            self.connections += 1
            opened = self._connection = RedisConnection(connection, self._observer)
            self._send()
            async with watched_master(self._source, connection, opened.abandon):
                why = await opened.closed
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - pending commands must fail with it
            why = error
        finally:
            self._connection = None
            if opened is not None:
                opened.close()
            # Commands not yet sent wait for the next connection if this one was lost while idle.
            if why is not None:
                detail = describe_outage(connection, self._setting, why)
                self._fail_pending(opened.in_flight if opened else (), why, detail)
            await connection.disconnect(nowait=True)

    def _cancel_if_closed(self) -> None:
        # redis-py can swallow a cancellation while it connects.
        if self._closed:
            raise asyncio.CancelledError

    def _send(self) -> None:
        """Send all commands issued in this iteration of the event loop."""
        self._send_scheduled = False
        if self._connection is None or not self._connection.is_usable:
            return
        batch = [pending for pending in self._unsent if not pending.reply.done()]
        self._unsent.clear()
        if batch and self._unsent_wait is not None:
            batch.append(self._unsent_wait)
        self._unsent_wait = None
        if batch:
            self.round_trips += 1
            self.commands += len(batch)
            self._connection.send(batch)

    def _fail_pending(
        self, unanswered: Iterable[PendingCommand], error: BaseException, operator_detail: str
    ) -> None:
        cancelled = isinstance(error, asyncio.CancelledError)
        why = None if cancelled else f"The store does not answer ({type(error).__name__})."
        if self._unsent_wait is not None:
            self._unsent.append(self._unsent_wait)
            self._unsent_wait = None
        unsent: type[StoreUnavailable] = StoreUnavailable
        if isinstance(error, UnsupportedServer):
            unsent, why, operator_detail = StoreUnsupported, str(error), str(error)
        for waiting, kind in ((unanswered, StoreTimeout), (self._unsent, unsent)):
            for pending in waiting:
                if not pending.reply.done():
                    pending.reply.set_exception(
                        kind(why, retry_after=RETRY_AFTER, operator_detail=operator_detail)
                    )
        self._unsent.clear()
