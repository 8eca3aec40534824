"""Runs the HTTP face as a process: logs, server, signals. The only caller of uvicorn."""

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
"""What closing takes beyond the open calls."""


def run(settings: ServiceSettings, sockets: list[socket.socket] | None = None) -> None:
    """Serve until SIGTERM or SIGINT, then finish open calls; returns after a clean stop.

    `sockets` are open ones to serve on, in place of the settings' address.

    Raises `SystemExit` when the server cannot start (port taken).
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

    # Until uvicorn has handlers of its own, none may be lost; and it repeats the signal once it has
    # stopped, where a clean stop is to exit with 0.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    server.run(sockets)
    if not server.started:
        raise SystemExit(STARTUP_FAILED)


def run_multiprocess(settings: ServiceSettings, processes: int) -> None:
    """As `run`, with several processes behind one socket; one that dies is replaced.

    Raises `OSError` when the address cannot be had, `SystemExit` when no member can serve.
    """
    log = configure_logging(settings.log_format, settings.log_level, sys.stderr)
    policy = ProcessManagerPolicy(processes, settings.shutdown_timeout + DRAIN_GRACE)
    listening = BindAddress(settings.host, settings.port, settings.backlog)
    code = run_process_manager(listening, policy, SystemClock(), log)
    if code:
        raise SystemExit(code)


class _Server(uvicorn.Server):
    """Says that it stops before it waits for open calls; the lifespan hears of it after them."""

    def __init__(self, stopping: asyncio.Event, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._stopping = stopping

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        # What is made by now stays for good. The collector would walk all of it again and again,
        # and keep every caller waiting that long: half of the slowest answers' time.
        gc.collect()
        gc.freeze()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._stopping.set()
        await super().shutdown(sockets)
