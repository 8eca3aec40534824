"""Runs the service as one process or several: logs, server, signals. The only user of uvicorn."""

import asyncio
import gc
import signal
import socket
import sys
from datetime import timedelta
from functools import partial
from math import ceil
from types import FrameType
from typing import Final

import uvicorn

from core.clock import SystemClock
from core.http_server.connections import ConnectionPolicy, Connections
from core.http_server.file_descriptors import RESERVED, available_connections
from core.http_server.server import LimitedServer, build_config
from core.observability.events import Emit, OperationalWarning
from core.observability.logs import configure_logging
from service.app import create_app
from service.composition import open_app_context
from service.server.process_manager import (
    STARTUP_FAILED,
    BindAddress,
    ProcessManagerPolicy,
    run_process_manager,
)
from service.settings import ServiceSettings

DRAIN_GRACE: Final = timedelta(seconds=2)
"""Time for closing connections after the last request has ended."""


def run(settings: ServiceSettings, sockets: list[socket.socket] | None = None) -> None:
    """Serve until SIGTERM or SIGINT, finish open requests, and return.

    `sockets` are open sockets to serve on, in place of the settings' address.

    Raises `SystemExit` if the server cannot start, for example because the port is in use.
    """
    log = configure_logging(settings.log_format, settings.log_level, sys.stderr)
    stopping = asyncio.Event()
    app = create_app(partial(open_app_context, settings, log, stopping))
    connections = Connections(_connection_policy(settings, log))
    config = build_config(
        app,
        connections,
        host=settings.host,
        port=settings.port,
        lifespan="on",
        backlog=settings.backlog,
        timeout_graceful_shutdown=ceil(settings.shutdown_timeout.total_seconds()),
    )
    server = _Server(stopping, config, connections)

    def stop(_: int, __: FrameType | None) -> None:
        server.should_exit = True

    # uvicorn installs its own handlers only later, and raises the signal again after it has
    # stopped. A clean stop must exit with 0.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    server.run(sockets)
    if not server.started:
        raise SystemExit(STARTUP_FAILED)


def run_multiprocess(settings: ServiceSettings, processes: int) -> None:
    """Serve as `run` does, with several processes on one socket; one that dies is restarted.

    Raises `OSError` if the address cannot be bound, `SystemExit` if no process can start.
    """
    log = configure_logging(settings.log_format, settings.log_level, sys.stderr)
    policy = ProcessManagerPolicy(processes, settings.shutdown_timeout + DRAIN_GRACE)
    address = BindAddress(settings.host, settings.port, settings.backlog)
    code = run_process_manager(address, policy, SystemClock(), log)
    if code:
        raise SystemExit(code)


def _connection_policy(settings: ServiceSettings, emit: Emit) -> ConnectionPolicy:
    wanted = settings.max_connections
    available = available_connections(wanted)
    if available < wanted:
        emit(
            OperationalWarning(
                "few_file_descriptors",
                f"`ulimit -n` allows {available} connections beside {RESERVED} reserved "
                f"descriptors, GATEWAY_MAX_CONNECTIONS is {wanted}: raise the hard limit",
            )
        )
    return ConnectionPolicy(
        max_connections=available,
        max_per_address=settings.max_connections_per_address or max(1, available // 2),
        keep_alive_timeout=settings.keep_alive_timeout,
        body_timeout=settings.body_timeout,
        unacknowledged_timeout=settings.heartbeat_interval,
    )


class _Server(LimitedServer):
    """Sets `stopping` before it waits for open requests: the lifespan ends only after them."""

    def __init__(
        self, stopping: asyncio.Event, config: uvicorn.Config, connections: Connections
    ) -> None:
        super().__init__(config, connections)
        self._stopping = stopping

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        # Startup objects live as long as the process. Without freezing, each full collection
        # scans them again, which doubled p99 latency.
        gc.collect()
        gc.freeze()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._stopping.set()
        await super().shutdown(sockets)
