"""Hears of every job's changes, over one connection of its own. Knows the wire; reads no job.

Redis keeps no message: what was told while nobody listened is lost, and the listener is told so.
"""

from datetime import timedelta
from typing import Final, NoReturn, Protocol

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import TimeoutError as RedisTimeoutError

from core.clock import Clock
from core.jobs.job import FINAL_STATES
from core.observability.events import Emit, OperationalWarning
from core.store import keys
from core.store.client import STORE_ERRORS, ConnectionSource

_RECONNECT_DELAY: Final = timedelta(milliseconds=500)
_PING_INTERVAL: Final = timedelta(seconds=5)
"""After so long without a message, Redis is asked whether it is still there."""
_REPLY_TIMEOUT: Final = timedelta(seconds=3)
_MESSAGE_TYPE: Final = b"message"


class JobChangeListener(Protocol):
    """Who wants to hear. Called in the event loop; must not wait and must not raise."""

    def job_changed(self, job_id: str, version: int, *, ended: bool) -> None:
        """A job has a new version; `ended`: its state is final."""
        ...

    def invalidate_all(self) -> None:
        """Any job may have changed: the connection is new."""
        ...


class JobChangeSubscriber:
    """The subscription of one process; however many wait in it, Redis sees one listener."""

    def __init__(
        self, source: ConnectionSource, listener: JobChangeListener, clock: Clock, emit: Emit
    ) -> None:
        """Take a connection from `source` and tell `listener`."""
        self._source = source
        self._listener = listener
        self._clock = clock
        self._emit = emit
        self._disconnected = False

    async def run(self) -> NoReturn:
        """Listen for ever. A Redis that is away is told of once, and looked for again."""
        while True:
            try:
                await self._receive_messages()
            except STORE_ERRORS as error:
                self._report_disconnect(error)
            except Exception as error:  # noqa: BLE001 - an outermost loop: deafness must not last
                self._report_disconnect(error)
            await self._clock.sleep(_RECONNECT_DELAY)

    async def _receive_messages(self) -> NoReturn:
        connection = self._source.make_connection()
        try:
            await connection.connect()  # type: ignore[no-untyped-call]  # redis-py 5
            # A Redis that still loads its data takes subscribers, but answers no reader yet.
            await _request(connection, "PING")
            await _request(connection, "SUBSCRIBE", keys.JOB_CHANGES)
            self._disconnected = False
            self._listener.invalidate_all()
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
            self._emit(OperationalWarning("pubsub_disconnected", type(error).__name__))


async def _next_message(connection: AbstractConnection) -> list[bytes]:
    """The next message, whenever it comes. A connection that died unnoticed is found out."""
    message = await _read_reply(connection, _PING_INTERVAL)
    return message if message is not None else await _request(connection, "PING")


async def _request(connection: AbstractConnection, *command: str) -> list[bytes]:
    """What comes after `command`: its answer, or a message that was on its way."""
    await connection.send_command(*command, check_health=False)
    answer = await _read_reply(connection, _REPLY_TIMEOUT)
    if answer is None:
        raise RedisTimeoutError("Redis fell silent")
    return answer


async def _read_reply(connection: AbstractConnection, max_wait: timedelta) -> list[bytes] | None:
    answer = await connection.read_response(disable_decoding=True, timeout=max_wait.total_seconds())
    return answer if isinstance(answer, list) or answer is None else [answer]
