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

_PAUSE: Final = timedelta(milliseconds=500)
_SILENCE: Final = timedelta(seconds=5)
"""After so long without a message, Redis is asked whether it is still there."""
_PATIENCE: Final = timedelta(seconds=3)
_MESSAGE: Final = b"message"


class Listener(Protocol):
    """Who wants to hear. Called in the event loop; must not wait and must not raise."""

    def changed(self, job_id: str, version: int, *, ended: bool) -> None:
        """A job has a new version; `ended`: its state is final."""
        ...

    def missed(self) -> None:
        """Any job may have changed: the connection is new."""
        ...


class ChangeFeed:
    """The subscription of one process; however many wait in it, Redis sees one listener."""

    def __init__(
        self, source: ConnectionSource, listener: Listener, clock: Clock, emit: Emit
    ) -> None:
        """Take a connection from `source` and tell `listener`."""
        self._source = source
        self._listener = listener
        self._clock = clock
        self._emit = emit
        self._lost = False

    async def run(self) -> NoReturn:
        """Listen for ever. A Redis that is away is told of once, and looked for again."""
        while True:
            try:
                await self._listen()
            except STORE_ERRORS as error:
                self._tell(error)
            except Exception as error:  # noqa: BLE001 - an outermost loop: deafness must not last
                self._tell(error)
            await self._clock.sleep(_PAUSE)

    async def _listen(self) -> NoReturn:
        connection = self._source.make_connection()
        try:
            await connection.connect()  # type: ignore[no-untyped-call]  # redis-py 5
            # A Redis that still loads its data takes subscribers, but answers no reader yet.
            await _ask(connection, "PING")
            await _ask(connection, "SUBSCRIBE", keys.CHANGES)
            self._lost = False
            self._listener.missed()
            while True:
                self._hear(await _next(connection))
        finally:
            await connection.disconnect(nowait=True)

    def _hear(self, message: list[bytes]) -> None:
        if message[0] != _MESSAGE:
            return
        job_id, version, state = [*message[2].decode(errors="replace").split(), "", "", ""][:3]
        if version.isdecimal():
            self._listener.changed(job_id, int(version), ended=state in FINAL_STATES)

    def _tell(self, error: BaseException) -> None:
        if not self._lost:
            self._lost = True
            self._emit(OperationalWarning("pubsub_disconnected", type(error).__name__))


async def _next(connection: AbstractConnection) -> list[bytes]:
    """The next message, whenever it comes. A connection that died unnoticed is found out."""
    message = await _read(connection, _SILENCE)
    return message if message is not None else await _ask(connection, "PING")


async def _ask(connection: AbstractConnection, *command: str) -> list[bytes]:
    """What comes after `command`: its answer, or a message that was on its way."""
    await connection.send_command(*command, check_health=False)
    answer = await _read(connection, _PATIENCE)
    if answer is None:
        raise RedisTimeoutError("Redis fell silent")
    return answer


async def _read(connection: AbstractConnection, within: timedelta) -> list[bytes] | None:
    answer = await connection.read_response(disable_decoding=True, timeout=within.total_seconds())
    return answer if isinstance(answer, list) or answer is None else [answer]
