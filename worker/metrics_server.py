"""Serves the worker's metrics. They are defined in `core.observability.metrics`."""

from core.clock import Clock
from core.observability.exposition import MetricsExposition
from core.observability.prometheus import MetricsRegistry


def metrics_application(
    metrics: MetricsRegistry, clock: Clock, token: str | None
) -> MetricsExposition:
    """Return the ASGI application that serves this process's metrics."""

    async def render() -> bytes:
        return metrics.render()

    return MetricsExposition(render, clock, token)
