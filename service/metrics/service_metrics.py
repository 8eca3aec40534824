"""Records and renders the service's metrics. They are defined in `core.observability.metrics`."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final

from core.clock import Clock
from core.errors import StoreUnavailable
from core.observability.events import Event, RequestServed
from core.observability.gateway_state import GatewayState
from core.observability.metrics import served_duration
from core.observability.prometheus import CONTENT_TYPE, MetricsRegistry
from service.metrics.multiprocess import multiprocess_registry

ACCEPTED: Final = "accepted"
STATE_MAX_AGE: Final = timedelta(seconds=2)
"""How long a state snapshot is reused, so that several scrapers cost Redis one read."""
_SERVER_ERROR: Final = 500
_CLIENT_ERROR: Final = 400

ReadGatewayState = Callable[[], Awaitable[GatewayState]]


class ServiceMetrics:
    """One process's metrics: an `Emit` that counts events, and the content of `/metrics`."""

    def __init__(
        self,
        registry: MetricsRegistry,
        submit_route: str,
        read_gateway_state: ReadGatewayState,
        clock: Clock,
    ) -> None:
        """`submit_route` is the path template by which submits are recognised."""
        self.content_type = CONTENT_TYPE
        self._registry = registry
        self._submit_route = submit_route
        self._read_gateway_state = read_gateway_state
        self._clock = clock
        self._state_read_at: timedelta | None = None
        self._state_lock = asyncio.Lock()

    def __call__(self, event: Event) -> None:
        """Count `event`."""
        self._registry(event)
        if isinstance(event, RequestServed) and self._is_submit(event):
            self._registry.record("gateway_submissions_total", (event.code or ACCEPTED,))
            self._registry.record(
                "gateway_submission_duration_seconds",
                (_result(event.status),),
                served_duration(event),
            )

    async def render(self) -> bytes:
        """Return the metrics in Prometheus' text format.

        While Redis does not answer, the state gauges are left out: old values would mislead.
        """
        async with self._state_lock:
            await self._refresh_state()
        return self._registry.render(multiprocess_registry)

    async def _refresh_state(self) -> None:
        now = self._clock.monotonic()
        if self._state_read_at is not None and now - self._state_read_at < STATE_MAX_AGE:
            return
        try:
            self._registry.set_state(await self._read_gateway_state())
            self._state_read_at = self._clock.monotonic()
        except StoreUnavailable:
            self._registry.set_state(None)
            self._state_read_at = None

    def _is_submit(self, event: RequestServed) -> bool:
        return event.route == self._submit_route and event.method == "POST"


def _result(status: int) -> str:
    if status >= _SERVER_ERROR:
        return "failed"
    return "refused" if status >= _CLIENT_ERROR else ACCEPTED
