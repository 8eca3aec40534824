"""The worker's metrics, served to Prometheus by a thread of their own."""

from collections.abc import Callable

from prometheus_client import start_http_server

from core.observability.event_metrics import LabelLimiter, MetricSample
from core.observability.metric_definitions import MetricSource
from core.observability.prometheus import MetricsRegistry


def build_worker_metrics(version: str, label_limiter: LabelLimiter) -> MetricsRegistry:
    """Return the worker's registry, with the build info set."""
    registry = MetricsRegistry(MetricSource.WORKER, label_limiter)
    registry.record(MetricSample("gateway_build_info", ("worker", version)))
    registry.record(MetricSample("gateway_redis_up"))
    return registry


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
