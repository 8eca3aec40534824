"""Exposes the metrics to Prometheus: one registry per process, built from `METRICS`.

The only module of core that knows the client library.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import product
from typing import Any, Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from core.jobs.job import JobState
from core.observability.events import Event, JobTransitioned
from core.observability.gateway_state import GatewayState
from core.observability.metric_types import (
    MODEL,
    EventHandler,
    LabelLimiter,
    LabelValues,
    MetricDefinition,
    MetricKind,
    MetricSource,
)
from core.observability.metrics import METRICS
from core.observability.state_metrics import STATE_METRICS

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
_MAX_ZERO_SERIES: Final = 64
_METHODS: Final = {
    MetricKind.COUNTER: "inc",
    MetricKind.GAUGE: "set",
    MetricKind.HISTOGRAM: "observe",
}
_MULTIPROCESS_MODES: Final = {"gateway_redis_up": "livemin", "gateway_job_subscriptions": "livesum"}
"""How processes that share their metrics combine a gauge; the others show the largest value."""

RegistryTransform = Callable[[CollectorRegistry], CollectorRegistry]


def _unchanged(registry: CollectorRegistry) -> CollectorRegistry:
    return registry


class MetricsRegistry:
    """The metrics of one process. An `Emit`."""

    def __init__(self, source: MetricSource, version: str, label_limits: Mapping[str, int]) -> None:
        """Expose the metrics of `source` (`SERVICE` or `WORKER`) and those of both processes.

        `label_limits` overrides the number of values of an open label, by the label's name.
        """
        # The library adds a `_created` series to each counter, which doubles the number of series
        # for nothing; there is no switch per registry.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # the library left it untyped
        limiter = self._limiter = LabelLimiter(label_limits)
        self._registry = CollectorRegistry()
        self._gauge_functions: list[Callable[[], None]] = []
        self._registry.register(_RefreshCollector(self.refresh))
        self._recorders = {
            metric.name: _Recorder(metric, self._registry, limiter)
            for metric in METRICS
            if metric.source in {source, MetricSource.BOTH}
        }
        self._handlers = _handlers_by_event(self._recorders)
        self._state = _StateCollector(limiter)
        self._registry.register(self._state)
        ProcessCollector(registry=self._registry)
        self.record("gateway_build_info", (source, version))
        self.record("gateway_redis_up")
        if source is MetricSource.WORKER:
            self.record("gateway_journal_up")

    def __call__(self, event: Event) -> None:
        """Move the metrics that `event` moves. A model that succeeds exists."""
        if isinstance(event, JobTransitioned) and event.after is JobState.SUCCEEDED:
            self._limiter.confirm(MODEL, (event.model_id,))
        for handler, record in self._handlers.get(type(event), ()):
            value = 1.0 if handler.value is None else handler.value(event)
            if value is not None:
                record(() if handler.labels is None else handler.labels(event), value)

    def confirm_models(self, model_ids: Iterable[str]) -> None:
        """Let these models' ids appear as labels. Once called, others appear as `other` only."""
        self._limiter.confirm(MODEL, model_ids)

    def record(self, name: str, labels: LabelValues = (), value: float = 1.0) -> None:
        """Increment a counter by `value`, observe it in a histogram, or set a gauge to it."""
        self._recorders[name].record(labels, value)

    def set_state(self, state: GatewayState | None) -> None:
        """Expose this snapshot of Redis from now on, or none."""
        self._state.state = state

    def set_gauge_function(
        self, name: str, labels: LabelValues, function: Callable[[], float]
    ) -> None:
        """Set a gauge to what `function` returns, at every scrape."""
        self._gauge_functions.append(lambda: self.record(name, labels, function()))

    def render(self, transform: RegistryTransform = _unchanged) -> bytes:
        """Return the metrics in Prometheus's text format.

        `transform` may replace this process's registry with one that combines several processes;
        the snapshot of Redis is added to it.
        """
        self.refresh()
        registry = transform(self._registry)
        if registry is not self._registry:
            registry.register(self._state)
        return generate_latest(registry)

    def refresh(self) -> None:
        """Call the gauge functions, for other processes that expose this one's metrics."""
        for set_gauge in self._gauge_functions:
            set_gauge()


Record = Callable[[LabelValues, float], None]


class _Recorder:
    """One metric of this process."""

    def __init__(
        self, metric: MetricDefinition, registry: CollectorRegistry, limiter: LabelLimiter
    ) -> None:
        self.definition = metric
        self._limiter = limiter
        self._metric = _client_metric(metric, registry)
        self._children: dict[LabelValues, Callable[[float], None]] = {}
        self._initialize_at_zero()

    def record(self, labels: LabelValues, value: float) -> None:
        # Keys are limited values only, so the dict stays bounded whatever values occur.
        child = self._children.get(labels)
        if child is None:
            child = self._child(self._limiter.limit_all(self.definition.labels, labels))
        child(value)

    def _child(self, labels: LabelValues) -> Callable[[float], None]:
        child = self._children.get(labels)
        if child is None:
            series = self._metric.labels(*labels) if labels else self._metric
            child = getattr(series, _METHODS[self.definition.kind])
            self._children[labels] = child
        return child

    def _initialize_at_zero(self) -> None:
        """Create the series of closed label sets, with the value 0.

        A counter that first appears with the value 1 hides that 1 from `increase`.
        """
        labels = self.definition.labels
        combinations = list(product(*(sorted(label.values) for label in labels)))
        is_gauge = self.definition.kind is MetricKind.GAUGE
        if labels and not is_gauge and len(combinations) <= _MAX_ZERO_SERIES:
            for values in combinations:
                self._child(values)


def _handlers_by_event(
    recorders: Mapping[str, _Recorder],
) -> dict[type, list[tuple[EventHandler, Record]]]:
    handlers: dict[type, list[tuple[EventHandler, Record]]] = {}
    for recorder in recorders.values():
        for handler in recorder.definition.handlers:
            handlers.setdefault(handler.event_type, []).append((handler, recorder.record))
    return handlers


class _RefreshCollector(Collector):
    """The first collector of its registry: calls the gauge functions before the others collect."""

    def __init__(self, refresh: Callable[[], None]) -> None:
        self._refresh = refresh

    def collect(self) -> Iterator[Metric]:
        self._refresh()
        yield from ()


class _StateCollector(Collector):
    """The last snapshot of Redis."""

    def __init__(self, limiter: LabelLimiter) -> None:
        self.state: GatewayState | None = None
        self._limiter = limiter

    def collect(self) -> Iterator[Metric]:
        state = self.state
        if state is not None:
            for metric in STATE_METRICS:
                totals = self._totals(metric, state)
                if totals:
                    yield _family(metric, totals)

    def _totals(self, metric: MetricDefinition, state: GatewayState) -> dict[LabelValues, float]:
        """Return the values by limited labels; those that become `other` are added up."""
        totals: dict[LabelValues, float] = {}
        for labels, value in metric.read_state(state) if metric.read_state else ():
            limited = self._limiter.limit_all(metric.labels, labels)
            totals[limited] = totals.get(limited, 0.0) + value
        return totals


def _family(
    metric: MetricDefinition, totals: Mapping[LabelValues, float]
) -> GaugeMetricFamily | CounterMetricFamily:
    names = [label.name for label in metric.labels]
    kind = CounterMetricFamily if metric.kind is MetricKind.COUNTER else GaugeMetricFamily
    family = kind(metric.name, metric.help, labels=names)
    for labels, value in totals.items():
        family.add_metric(labels, value)
    return family


def _client_metric(metric: MetricDefinition, registry: CollectorRegistry) -> MetricWrapperBase:
    name, text, labels = metric.name, metric.help, [label.name for label in metric.labels]
    match metric.kind:
        case MetricKind.COUNTER:
            return Counter(name, text, labels, registry=registry)
        case MetricKind.GAUGE:
            mode: Any = _MULTIPROCESS_MODES.get(name, "livemax")
            return Gauge(name, text, labels, registry=registry, multiprocess_mode=mode)
        case MetricKind.HISTOGRAM:
            return Histogram(name, text, labels, registry=registry, buckets=metric.buckets)
