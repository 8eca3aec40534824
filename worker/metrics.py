"""Figures of a worker for Prometheus, answered on a thread of their own. Decides nothing."""

from collections.abc import Callable

from prometheus_client import start_http_server

from core.observability.event_metrics import LabelLimiter, MetricSample
from core.observability.metric_definitions import MetricSource
from core.observability.prometheus import MetricsRegistry


def build_worker_metrics(version: str, label_limiter: LabelLimiter) -> MetricsRegistry:
    """The series of a worker, with the version that runs."""
    figures = MetricsRegistry(MetricSource.WORKER, label_limiter)
    figures.record(MetricSample("gateway_build_info", ("worker", version)))
    figures.record(MetricSample("gateway_redis_up"))
    return figures


def serve_metrics(host: str, port: int, metrics: MetricsRegistry) -> Callable[[], None]:
    """Answer `/metrics` on its own thread. Returns what stops it.

    Raises `OSError` when the port is taken.
    """
    server, thread = start_http_server(port, addr=host, registry=metrics.registry)

    def stop() -> None:
        server.shutdown()
        thread.join()
        server.server_close()

    return stop
