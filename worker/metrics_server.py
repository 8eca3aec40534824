"""Serves the worker's metrics on a thread of its own.

They are defined in `core.observability.metrics`.
"""

from collections.abc import Callable

from prometheus_client import start_http_server

from core.observability.prometheus import MetricsRegistry


def serve_metrics(host: str, port: int, metrics: MetricsRegistry) -> Callable[[], None]:
    """Serve `/metrics` on a thread of its own, so that a busy event loop does not delay a scrape.

    Returns a function that stops it. Raises `OSError` if the port is in use.
    """
    server, thread = start_http_server(port, addr=host, registry=metrics.registry)

    def stop() -> None:
        server.shutdown()
        thread.join()
        server.server_close()

    return stop
