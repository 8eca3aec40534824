"""Figures of a worker for Prometheus, answered on a thread of their own. Decides nothing."""

from collections.abc import Callable

from prometheus_client import start_http_server

from core.observability.event_metrics import Labels, Sample
from core.observability.metric_definitions import Source
from core.observability.prometheus import Figures


def worker_figures(version: str, labels: Labels) -> Figures:
    """The series of a worker, with the version that runs."""
    figures = Figures(Source.WORKER, labels)
    figures.take(Sample("gateway_build_info", ("worker", version)))
    figures.take(Sample("gateway_redis_up"))
    return figures


def serve_metrics(host: str, port: int, figures: Figures) -> Callable[[], None]:
    """Answer `/metrics` on its own thread. Returns what stops it.

    Raises `OSError` when the port is taken.
    """
    server, thread = start_http_server(port, addr=host, registry=figures.registry)

    def stop() -> None:
        server.shutdown()
        thread.join()
        server.server_close()

    return stop
