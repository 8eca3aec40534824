"""A listener beside a process's main work: for metrics or operators, on the same event loop."""

import asyncio
import errno
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from core.http_server.connections import ConnectionPolicy, Connections
from core.http_server.server import LimitedServer, build_config

METRICS_POLICY: Final = ConnectionPolicy(
    max_connections=32,
    max_per_address=16,
    keep_alive_timeout=timedelta(seconds=75),
    body_timeout=timedelta(seconds=5),
)
"""For a few scrapers: the file descriptors come from the margin that the main work leaves free."""
RECEIVE_BUFFER: Final = 512 * 1024
"""Of a connection, in the kernel, which else lets it grow to 32 MiB. All connections of a host
share one memory: when a few hundred callers have used it up, the kernel drops what others send. So
much still receives 5 MB/s at a round trip of 100 ms, where `net.core.rmem_max` allows it."""
UNSENT_BYTES: Final = 128 * 1024
"""What the kernel takes of an answer before the caller's window has room for it, for the same
reason; the rest waits here, where it is bounded by the deadlines of `protocol`."""
_BACKLOG: Final = 32
_ABOUT_THE_PORT: Final = frozenset({errno.EADDRINUSE, errno.EACCES})
"""In use, or below 1024 without the right to it."""


class CannotListen(OSError):
    """A process cannot listen. The text names the address, the reason and what to set."""


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """Where to listen; port 0: any free one. `setting`: the one that chooses the port."""

    host: str
    port: int
    setting: str


def open_listening_socket(address: ListenAddress, backlog: int = _BACKLOG) -> socket.socket:
    """Return a socket that listens. Raises `CannotListen`."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        listening = socket.create_server(
            (address.host, address.port), family=family, backlog=backlog
        )
    except OSError as error:
        # Not `strerror`: `create_server` adds the address to it.
        reason = os.strerror(error.errno) if error.errno else str(error)
        advice = f"; set {address.setting}" if error.errno in _ABOUT_THE_PORT else ""
        raise CannotListen(
            f"cannot listen on {address.host}:{address.port}: {reason}{advice}"
        ) from error
    # Connections take these over from the listening socket.
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
    return listening


@asynccontextmanager
async def serve_beside(
    app: Callable[..., Any], listening: socket.socket, policy: ConnectionPolicy = METRICS_POLICY
) -> AsyncIterator[None]:
    """Serve `app` on `listening` while the body runs, and close the socket.

    Signals are left to the process's main work.
    """
    connections = Connections(policy)
    config = build_config(app, connections, lifespan="off", timeout_graceful_shutdown=1)
    server = _BesideServer(config, connections)
    task = asyncio.create_task(server.serve([listening]))
    try:
        yield
    finally:
        server.should_exit = True
        await task


class _BesideServer(LimitedServer):
    """Leaves signals alone."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Install no handlers."""
        yield
