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
from core.observability.logs import configure_logging
from service.app import create_app
from service.composition import open_app_context
from service.server.http_protocol import BoundedHttpProtocol
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
    server = _Server(
        stopping,
        uvicorn.Config(
            app,
            host=settings.host,
            port=settings.port,
            loop="uvloop",
            http=BoundedHttpProtocol,
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            backlog=settings.backlog,
            timeout_keep_alive=ceil(settings.keep_alive_timeout.total_seconds()),
            timeout_graceful_shutdown=ceil(settings.shutdown_timeout.total_seconds()),
        ),
    )

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


class _Server(uvicorn.Server):
    """Sets `stopping` before it waits for open requests: the lifespan ends only after them."""

    def __init__(self, stopping: asyncio.Event, config: uvicorn.Config) -> None:
        super().__init__(config)
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
