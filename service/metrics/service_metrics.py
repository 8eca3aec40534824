"""Renders the service's metrics. They are defined in `core.observability.metrics`."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final

from core.clock import Clock
from core.errors import StoreUnavailable
from core.observability.gateway_state import GatewayState
from core.observability.prometheus import CONTENT_TYPE, MetricsRegistry
from service.metrics.multiprocess import multiprocess_registry

STATE_MAX_AGE: Final = timedelta(seconds=2)
"""How long a state snapshot is reused, so that several scrapers cost Redis one read."""

ReadGatewayState = Callable[[], Awaitable[GatewayState]]


class ServiceMetrics:
    """The content of `/metrics`: one process's metrics, and the state of the whole gateway."""

    def __init__(
        self, registry: MetricsRegistry, read_gateway_state: ReadGatewayState, clock: Clock
    ) -> None:
        """Show `registry`, with what `read_gateway_state` returns."""
        self.content_type = CONTENT_TYPE
        self._registry = registry
        self._read_gateway_state = read_gateway_state
        self._clock = clock
        self._state_read_at: timedelta | None = None
        self._state_lock = asyncio.Lock()

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
