"""Figures of the HTTP face for Prometheus: a reader of events with a registry of its own."""

from collections.abc import Callable
from datetime import timedelta
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from core.events import Event, JobAdmitted, RequestServed, StoreFound, StoreLost

ACCEPTED: Final = "accepted"
_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class ServiceMetrics:
    """One process's figures. An `Emit`, and what `/metrics` shows. Labels are closed sets."""

    def __init__(self, version: str, submit_route: str) -> None:
        """Count submits by their route's template, `submit_route`."""
        self.content_type = CONTENT_TYPE_LATEST
        self._submit_route = submit_route
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "gateway_http_requests_total",
            "HTTP calls answered, by route template.",
            ("route", "method", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "gateway_http_request_seconds",
            "Time to the end of an answer, without what the caller asked to wait for a job.",
            ("route",),
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._submits = Counter(
            "gateway_submits_total",
            "Submits by what became of them: accepted, or the problem's code.",
            ("outcome",),
            registry=self._registry,
        )
        self._estimated = Counter(
            "gateway_estimated_usd_total",
            "Estimated cost of accepted submits whose price is known.",
            registry=self._registry,
        )
        self._store = Gauge(
            "gateway_store_up", "Whether the store answers.", registry=self._registry
        )
        self._store.set(1)
        build = Gauge(
            "gateway_build_info", "Which version runs.", ("version",), registry=self._registry
        )
        build.labels(version).set(1)

    def __call__(self, event: Event) -> None:
        """Count `event`."""
        match event:
            case RequestServed():
                self._count(event)
            case JobAdmitted(estimate=int(estimate)):
                self._estimated.inc(estimate / 1_000_000)
            case StoreLost():
                self._store.set(0)
            case StoreFound():
                self._store.set(1)
            case _:
                pass

    def show_waiters(self, count: Callable[[], int]) -> None:
        """Show how many callers wait for a job or follow its events; asked at each scrape."""
        gauge = Gauge(
            "gateway_waiters",
            "Callers that wait for a job or follow its events.",
            registry=self._registry,
        )
        gauge.set_function(count)

    def render(self) -> bytes:
        """The figures in Prometheus' text format."""
        return generate_latest(self._registry)

    def _count(self, event: RequestServed) -> None:
        self._requests.labels(event.route, event.method, str(event.status)).inc()
        own = event.took - (event.waited or timedelta())
        self._seconds.labels(event.route).observe(own.total_seconds())
        if event.route == self._submit_route and event.method == "POST":
            self._submits.labels(event.code or ACCEPTED).inc()
