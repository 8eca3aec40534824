"""Runs the service as one process or several: logs, server, signals. The only user of uvicorn."""

import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from datetime import timedelta
from functools import partial
from math import ceil
from types import FrameType
from typing import Final

import uvicorn

from core.clock import Clock, SystemClock
from core.http_server.connections import ConnectionPolicy, Connections
from core.http_server.file_descriptors import PER_CONNECTION, RESERVED, available_connections
from core.http_server.listener import ListenAddress, open_listening_socket, serve_beside
from core.http_server.server import LimitedServer, build_config
from core.observability.events import Emit, OperationalWarning
from core.observability.exposition import MetricsExposition
from core.observability.logs import configure_logging
from core.runtime.garbage_collection import spare_startup_objects
from service.app import create_app
from service.composition import open_app_context
from service.context import AppContext
from service.parsing.forwarded import TrustedProxies
from service.server.admin_app import AdminApp
from service.server.process_manager import (
    STARTUP_FAILED,
    ProcessManagerPolicy,
    SharedSockets,
    run_process_manager,
)
from service.settings import ServiceSettings
from service.shutdown import Shutdown

ADMIN_POLICY: Final = ConnectionPolicy(
    max_connections=64,
    max_per_address=32,
    keep_alive_timeout=timedelta(seconds=75),
    body_timeout=timedelta(seconds=30),
)
"""For operators: some tools and persons, from few addresses."""
GIL_SWITCH_INTERVAL: Final = timedelta(milliseconds=0.5)
"""How long a thread that reads a large body may keep the event loop waiting at a time.

With Python's 5 ms, each step of every other request waits as long while one is read.
"""
DRAIN_GRACE: Final = timedelta(seconds=2)
"""Time for closing connections after the last request has ended."""


def run(settings: ServiceSettings, shared: SharedSockets | None = None) -> None:
    """Serve until SIGTERM or SIGINT, finish open requests, and return.

    `shared` are open sockets to serve on, in place of the settings' addresses.

    Raises `CannotListen`, and `SystemExit` if the server cannot start.
    """
    api = shared.api if shared else _open_api_socket(settings)
    metrics = shared.metrics if shared else open_listening_socket(_metrics_address(settings))
    admin = shared.admin if shared else _open_admin_socket(settings)
    sys.setswitchinterval(GIL_SWITCH_INTERVAL.total_seconds())
    log = configure_logging(settings.log_format, settings.log_level, sys.stderr)
    shutdown = Shutdown(settings.shutdown_delay)
    clock = SystemClock()
    app = create_app(
        partial(_open_context, settings, log, shutdown, metrics),
        has_console=settings.console_policy().enabled,
    )
    connections = Connections(_connection_policy(settings, log))
    config = build_config(
        app,
        connections,
        lifespan="on",
        backlog=settings.backlog,
        timeout_graceful_shutdown=ceil(settings.shutdown_timeout.total_seconds()),
    )
    server = ServiceServer(shutdown, clock, config, connections, admin)

    # uvicorn sets the same handler only later, and raises the signal again after it has stopped. A
    # clean stop must exit with 0.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, server.handle_exit)
    server.run([api])
    if not server.started:
        raise SystemExit(STARTUP_FAILED)


def run_multiprocess(settings: ServiceSettings, processes: int) -> None:
    """Serve as `run` does, with several processes on one socket; one that dies is restarted.

    Raises `CannotListen`, and `SystemExit` if no process can start.
    """
    log = configure_logging(settings.log_format, settings.log_level, sys.stderr)
    policy = ProcessManagerPolicy(
        processes, settings.shutdown_delay + settings.shutdown_timeout + DRAIN_GRACE
    )
    with (
        _open_api_socket(settings) as api,
        open_listening_socket(_metrics_address(settings)) as metrics,
        _open_admin_socket(settings) or nullcontext() as admin,
    ):
        shared = SharedSockets(api, metrics, admin)
        code = run_process_manager(shared, policy, SystemClock(), log)
    if code:
        raise SystemExit(code)


def _open_admin_socket(settings: ServiceSettings) -> socket.socket | None:
    """Return the socket of the admin API's own listener; None if it has none."""
    if settings.admin_port is None:
        return None
    return open_listening_socket(
        ListenAddress(settings.admin_host, settings.admin_port, "GATEWAY_ADMIN_PORT")
    )


def _metrics_address(settings: ServiceSettings) -> ListenAddress:
    return ListenAddress(
        settings.service_metrics_host,
        settings.service_metrics_port,
        "GATEWAY_SERVICE_METRICS_PORT",
    )


def _open_api_socket(settings: ServiceSettings) -> socket.socket:
    address = ListenAddress(settings.host, settings.port, "GATEWAY_PORT")
    return open_listening_socket(address, settings.backlog)


@asynccontextmanager
async def _open_context(
    settings: ServiceSettings, log: Emit, shutdown: Shutdown, listening: socket.socket
) -> AsyncIterator[AppContext]:
    """Open the application's context, and serve its metrics beside it."""
    async with open_app_context(settings, log, shutdown) as context:
        token = settings.metrics.token_text
        exposition = MetricsExposition(context.metrics.render, context.clock, token)
        async with serve_beside(exposition, listening):
            yield context


def _connection_policy(settings: ServiceSettings, emit: Emit) -> ConnectionPolicy:
    wanted = settings.max_connections
    available = available_connections(wanted)
    if available < wanted:
        emit(
            OperationalWarning(
                "few_file_descriptors",
                f"`ulimit -n` allows {available} connections, each of {PER_CONNECTION} "
                f"descriptors, beside {RESERVED} reserved ones; GATEWAY_MAX_CONNECTIONS is "
                f"{wanted}: raise the hard limit",
            )
        )
    return ConnectionPolicy(
        max_connections=available,
        max_per_address=settings.max_connections_per_address or max(1, available // 2),
        keep_alive_timeout=settings.keep_alive_timeout,
        body_timeout=settings.body_timeout,
        unacknowledged_timeout=settings.heartbeat_interval,
        is_exempt=TrustedProxies.parse(settings.trusted_proxies).contains,
    )


class ServiceServer(LimitedServer):
    """Ends when `shutdown` is due.

    It sets `stopping` before it waits for open requests: the lifespan ends only after them.

    Serves the admin API on the socket `admin` too, if there is one.
    """

    def __init__(
        self,
        shutdown: Shutdown,
        clock: Clock,
        config: uvicorn.Config,
        connections: Connections,
        admin: socket.socket | None,
    ) -> None:
        super().__init__(config, connections)
        self._shutdown = shutdown
        self._clock = clock
        self._admin = admin
        self._beside = AsyncExitStack()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._admin is not None and self.started:
            operators = AdminApp(self.config.loaded_app, self.lifespan.state["resources"])
            await self._beside.enter_async_context(
                serve_beside(operators, self._admin, ADMIN_POLICY)
            )
        spare_startup_objects()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        now = self._clock.monotonic()
        # A repeat must not reach the server: it ends open requests at a second SIGINT.
        if self._shutdown.announce(now) and self._shutdown.is_due(now):
            super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        self.should_exit = self.should_exit or self._shutdown.is_due(self._clock.monotonic())
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._shutdown.stopping.set()
        await self._beside.aclose()
        await super().shutdown(sockets)
