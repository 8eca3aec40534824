"""Serves one ASGI app on one port.

Prints a line when it is ready, gives responses access to their connection, and stops fast.
"""

import contextlib
import signal
import socket
from collections.abc import Callable, Iterator
from types import FrameType
from typing import cast

from starlette.types import ASGIApp
from uvicorn import Config, Server
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from simulator.broken_responses import connection_extension

WriteLine = Callable[[str], None]
# uvicorn takes whole seconds. Responses that take longer are aborted.
_SHUTDOWN_TIMEOUT_SECONDS = 1


class _ConnectionExposingProtocol(HttpToolsProtocol):
    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = connection_extension(self.transport)


class _QuietServer(Server):
    def __init__(self, config: Config, *, name: str, write_line: WriteLine) -> None:
        super().__init__(config)
        self._name = name
        self._write_line = write_line

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        self._write_line(f"simulator {self._name} ready at http://{host}:{port}")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # uvicorn would answer 500 to requests that are kept waiting on purpose.
        for connection in tuple(self.server_state.connections):
            cast("_ConnectionExposingProtocol", connection).transport.abort()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # The parent class raises the signal again at the end, which would make the exit code 143.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        yield

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self.should_exit = True


def serve(app: ASGIApp, *, name: str, host: str, port: int, write_line: WriteLine) -> None:
    """Run until SIGTERM or SIGINT. Port 0: any free port; the ready line has it."""
    config = Config(
        app,
        host=host,
        port=port,
        http=_ConnectionExposingProtocol,
        ws="none",
        lifespan="off",
        log_level="critical",
        access_log=False,
        timeout_graceful_shutdown=_SHUTDOWN_TIMEOUT_SECONDS,
    )
    _QuietServer(config, name=name, write_line=write_line).run()
