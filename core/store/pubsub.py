"""Subscription to the changes of all jobs, over a connection of its own.

Redis stores no pub/sub message: those published while the connection is down are lost. The listener
is therefore notified of every reconnect, and must read again whatever it waits for.
"""

from datetime import timedelta
from functools import partial
from typing import Final, NoReturn, Protocol

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import TimeoutError as RedisTimeoutError

from core.clock import Clock
from core.jobs.job import FINAL_STATES
from core.observability.events import Emit, OperationalWarning
from core.store import keys
from core.store.client import STORE_ERRORS, ConnectionSource
from core.store.sentinel import watched_master

_RECONNECT_DELAY: Final = timedelta(milliseconds=500)
_PING_INTERVAL: Final = timedelta(seconds=5)
"""After this long without a message, a PING checks that the connection still works."""
_REPLY_TIMEOUT: Final = timedelta(seconds=3)
_MESSAGE_TYPE: Final = b"message"


class JobChangeListener(Protocol):
    """The receiver of changes. Called in the event loop: it must not block and must not raise."""

    def job_changed(self, job_id: str, version: int, *, ended: bool) -> None:
        """Handle a job's new version; `ended` if its state is final."""
        ...

    def invalidate_all(self) -> None:
        """Handle a new connection: any job may have changed."""
        ...


class JobChangeSubscriber:
    """The one subscription of a process, whatever the number of waiting requests."""

    def __init__(
        self, source: ConnectionSource, listener: JobChangeListener, clock: Clock, emit: Emit
    ) -> None:
        """Take connections from `source` and notify `listener`."""
        self._source = source
        self._listener = listener
        self._clock = clock
        self._emit = emit
        self._disconnected = False

    async def run(self) -> NoReturn:
        """Listen for ever. A lost connection is reported once and opened again."""
        while True:
            try:
                await self._receive_messages()
            except STORE_ERRORS as error:
                self._report_disconnect(error)
            except Exception as error:  # noqa: BLE001 - an outermost loop: it must reconnect whatever failed
                self._report_disconnect(error)
            await self._clock.sleep(_RECONNECT_DELAY)

    async def _receive_messages(self) -> NoReturn:
        connection = self._source.make_connection()
        try:
            await connection.connect()  # type: ignore[no-untyped-call]  # redis-py 5
            # While Redis loads its data it accepts SUBSCRIBE but no reads; PING fails until then.
            await _request(connection, "PING")
            await _request(connection, "SUBSCRIBE", keys.JOB_CHANGES)
            self._disconnected = False
            self._listener.invalidate_all()
            async with watched_master(self._source, connection, partial(_disconnect, connection)):
                while True:
                    self._handle_message(await _next_message(connection))
        finally:
            await connection.disconnect(nowait=True)

    def _handle_message(self, message: list[bytes]) -> None:
        if message[0] != _MESSAGE_TYPE:
            return
        job_id, version, state = [*message[2].decode(errors="replace").split(), "", "", ""][:3]
        if version.isdecimal():
            self._listener.job_changed(job_id, int(version), ended=state in FINAL_STATES)

    def _report_disconnect(self, error: BaseException) -> None:
        if not self._disconnected:
            self._disconnected = True
            detail = f"{type(error).__name__}: {error}"
            self._emit(OperationalWarning("pubsub_disconnected", detail))


async def _disconnect(connection: AbstractConnection) -> None:
    await connection.disconnect(nowait=True)


async def _next_message(connection: AbstractConnection) -> list[bytes]:
    """Wait for the next message; a PING at intervals detects a dead connection."""
    message = await _read_reply(connection, _PING_INTERVAL)
    return message if message is not None else await _request(connection, "PING")


async def _request(connection: AbstractConnection, *command: str) -> list[bytes]:
    """Send a command and return what arrives next: its answer, or a message sent before it."""
    await connection.send_command(*command, check_health=False)
    answer = await _read_reply(connection, _REPLY_TIMEOUT)
    if answer is None:
        raise RedisTimeoutError("Redis did not answer in time")
    return answer


async def _read_reply(connection: AbstractConnection, max_wait: timedelta) -> list[bytes] | None:
    answer = await connection.read_response(disable_decoding=True, timeout=max_wait.total_seconds())
    return answer if isinstance(answer, list) or answer is None else [answer]
