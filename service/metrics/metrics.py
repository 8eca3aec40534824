"""Figures of the HTTP face for Prometheus: what it did, and how the whole gateway stands."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from typing import Final

from core.clock import Clock
from core.errors import StoreUnavailable
from core.observability.event_metrics import Labels, Sample
from core.observability.events import Event, RequestServed
from core.observability.gateway_state import Overview
from core.observability.metric_definitions import Source
from core.observability.prometheus import CONTENT_TYPE, Figures
from core.observability.state_metrics import levels
from service.metrics.multiprocess import shown

ACCEPTED: Final = "accepted"
FRESH_FOR: Final = timedelta(seconds=2)
"""How long a reading of the store serves: several scrapers ask Redis no more often."""
_SERVER_ERROR: Final = 500
_CLIENT_ERROR: Final = 400

ReadOverview = Callable[[], Awaitable[Overview]]


class ServiceMetrics:
    """One process's figures. An `Emit`, and what `/metrics` shows."""

    def __init__(
        self, figures: Figures, submit_route: str, overview: ReadOverview, clock: Clock
    ) -> None:
        """Tell submits by their route's template, `submit_route`."""
        self.content_type = CONTENT_TYPE
        self._figures = figures
        self._submit_route = submit_route
        self._overview = overview
        self._clock = clock
        self._read_at: timedelta | None = None
        self._reading = asyncio.Lock()

    def __call__(self, event: Event) -> None:
        """Count `event`."""
        self._figures(event)
        if isinstance(event, RequestServed) and self._is_submit(event):
            for sample in accept_samples(event):
                self._figures.take(sample)

    async def render(self) -> bytes:
        """The figures in Prometheus's text format.

        A store that does not answer leaves out what only it knows: old levels would be lies.
        """
        async with self._reading:
            await self._read_state()
        return self._figures.render(shown)

    async def _read_state(self) -> None:
        now = self._clock.monotonic()
        if self._read_at is not None and now - self._read_at < FRESH_FOR:
            return
        try:
            self._figures.show(levels(await self._overview()))
            self._read_at = self._clock.monotonic()
        except StoreUnavailable:
            self._figures.show(())
            self._read_at = None

    def _is_submit(self, event: RequestServed) -> bool:
        return event.route == self._submit_route and event.method == "POST"


def service_figures(version: str, labels: Labels) -> Figures:
    """The series of a service, with the version that runs."""
    figures = Figures(Source.SERVICE, labels)
    figures.take(Sample("gateway_build_info", ("service", version)))
    figures.take(Sample("gateway_redis_up"))
    return figures


def accept_samples(event: RequestServed) -> Iterator[Sample]:
    """What a submit's answer says in figures."""
    yield Sample("gateway_submissions_total", (event.code or ACCEPTED,))
    own = event.duration - (event.wait_duration or timedelta())
    yield Sample(
        "gateway_submission_duration_seconds", (_result(event.status),), own.total_seconds()
    )


def _result(status: int) -> str:
    if status >= _SERVER_ERROR:
        return "failed"
    return "refused" if status >= _CLIENT_ERROR else ACCEPTED
