"""Events -> Prometheus, for the worker. Knows Prometheus; decides nothing."""

from collections.abc import Callable
from datetime import timedelta

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from core.events import (
    BreakerMoved,
    DeliveryAttempted,
    EndpointDisabled,
    Event,
    JobMoved,
    StoreLost,
    SubmitAnswered,
    Trouble,
    UpstreamCalled,
    WalletRead,
)
from core.jobs import FINAL_STATES

MICRO = 1_000_000
HOUR = timedelta(hours=1)
_CALL_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_AGE_BUCKETS = (5, 15, 30, 60, 120, 300, 600, 1200, 3600)


class WorkerMetrics:
    """The worker's series; an `Emit`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register with `registry`."""
        name = "gateway"
        self._moves = Counter(
            f"{name}_job_moves", "Facts that moved jobs.", ("fact", "state"), registry=registry
        )
        self._submits = Counter(
            f"{name}_submits", "Paid submits by what they met.", ("fact",), registry=registry
        )
        self._calls = Histogram(
            f"{name}_upstream_call_seconds",
            "Calls to RunComfy.",
            ("call", "outcome"),
            buckets=_CALL_BUCKETS,
            registry=registry,
        )
        self._ages = Histogram(
            f"{name}_job_age_at_end_seconds",
            "From admission to the end of a job.",
            ("state",),
            buckets=_AGE_BUCKETS,
            registry=registry,
        )
        self._attempts = Histogram(
            f"{name}_delivery_attempt_seconds",
            "Attempts at callbacks.",
            ("outcome",),
            buckets=_CALL_BUCKETS,
            registry=registry,
        )
        self._disabled = Counter(
            f"{name}_endpoints_disabled",
            "Endpoints of tenants that were disabled, by why.",
            ("reason",),
            registry=registry,
        )
        self._breaker = Counter(
            f"{name}_breaker_moves", "Changes of the breaker.", ("state",), registry=registry
        )
        self._store_losses = Counter(
            f"{name}_store_losses", "Times that the store stopped answering.", registry=registry
        )
        self._balance = Gauge(
            f"{name}_wallet_balance_usd", "RunComfy's balance as last read.", registry=registry
        )
        self._burn = Gauge(
            f"{name}_wallet_burn_usd_per_hour", "How fast it falls.", registry=registry
        )
        self._hours = Gauge(
            f"{name}_wallet_hours_left",
            "How long it lasts at that; infinite while it does not fall.",
            registry=registry,
        )
        for gauge in (self._balance, self._burn, self._hours):
            gauge.set(float("nan"))
        self._troubles = Counter(
            f"{name}_troubles", "What operators should read of.", ("code",), registry=registry
        )

    def __call__(self, event: Event) -> None:
        """Count an event."""
        match event:
            case JobMoved():
                self._count_move(event)
            case SubmitAnswered():
                self._submits.labels(event.fact).inc()
            case UpstreamCalled():
                took = event.took.total_seconds()
                self._calls.labels(event.call, event.outcome).observe(took)
            case DeliveryAttempted():
                self._attempts.labels(event.outcome).observe(event.took.total_seconds())
            case WalletRead():
                self._show_wallet(event)
            case EndpointDisabled() | BreakerMoved() | StoreLost() | Trouble():
                self._count_trouble(event)
            case _:
                return

    def _count_trouble(self, event: EndpointDisabled | BreakerMoved | StoreLost | Trouble) -> None:
        match event:
            case EndpointDisabled():
                self._disabled.labels(event.reason).inc()
            case BreakerMoved():
                self._breaker.labels(event.after).inc()
            case StoreLost():
                self._store_losses.inc()
            case Trouble():
                self._troubles.labels(event.code).inc()

    def _show_wallet(self, event: WalletRead) -> None:
        self._balance.set(event.balance / MICRO)
        self._burn.set((event.burn_per_hour or 0) / MICRO)
        self._hours.set(float("inf") if event.lasts is None else event.lasts / HOUR)

    def _count_move(self, event: JobMoved) -> None:
        self._moves.labels(event.fact, event.after).inc()
        if event.after in FINAL_STATES:
            self._ages.labels(event.after).observe(event.age.total_seconds())


def serve_metrics(host: str, port: int) -> tuple[WorkerMetrics, Callable[[], None]]:
    """Answer `/metrics` on its own thread. Returns the reader of events, and what stops it.

    Raises `OSError` when the port is taken.
    """
    registry = CollectorRegistry()
    metrics = WorkerMetrics(registry)
    server, thread = start_http_server(port, addr=host, registry=registry)

    def stop() -> None:
        server.shutdown()
        thread.join()
        server.server_close()

    return metrics, stop
