"""Shows figures to Prometheus: one registry a process, made from the catalogue of series.

Knows the client library; decides nothing. What a service or a worker adds is in its own `metrics`.
"""

from collections.abc import Callable, Iterable, Iterator
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

from core.observability.event_metrics import LabelLimiter, MetricSample, metric_samples
from core.observability.events import Event
from core.observability.metric_definitions import (
    DEFINITIONS_BY_NAME,
    METRIC_DEFINITIONS,
    MetricDefinition,
    MetricKind,
    MetricSource,
)

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
_MAX_ZERO_SERIES: Final = 32


RegistryTransform = Callable[[CollectorRegistry], CollectorRegistry]
_MULTIPROCESS_MODES: Final = {"gateway_redis_up": "livemin", "gateway_job_subscriptions": "livesum"}
"""How processes that share their figures show a gauge as one; others show the largest."""


def _unchanged(registry: CollectorRegistry) -> CollectorRegistry:
    return registry


class MetricsRegistry:
    """One process's figures. An `Emit`."""

    def __init__(self, source: MetricSource, limiter: LabelLimiter) -> None:
        """Show the series of `source`, and those of both processes."""
        # Else as many series again, of instants that nobody asks for; there is no other switch.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # the library left it untyped
        self._limiter = limiter
        self._registry = CollectorRegistry()
        self._gauge_functions: list[Callable[[], None]] = []
        self._registry.register(_RefreshCollector(self.refresh))
        self._state = _StateCollector(limiter)
        self._recorders: dict[tuple[str, tuple[str, ...]], Callable[[float], None]] = {}
        own = [s for s in METRIC_DEFINITIONS if s.source in {source, MetricSource.BOTH}]
        self._metrics = {series.name: _metric(series, self._registry) for series in own}
        for series in own:
            self._initialize_at_zero(series)
        self._registry.register(self._state)
        ProcessCollector(registry=self._registry)

    def __call__(self, event: Event) -> None:
        """Count what happened."""
        for sample in metric_samples(event):
            self.record(sample)

    def record(self, sample: MetricSample) -> None:
        """Count one figure; one that this process does not show is passed over."""
        # What a label does not fit is never kept here: `_taker` keeps fitted labels alone.
        take = self._recorders.get((sample.metric, sample.labels))
        if take is None:
            if sample.metric not in self._metrics:
                return
            take = self._recorder(sample.metric, sample.labels)
        take(sample.value)

    def set_state_gauges(self, gauges: Iterable[MetricSample]) -> None:
        """Show these readings of the store from now on, and none that were shown before."""
        self._state.gauges = tuple(gauges)

    def set_gauge_function(
        self, metric: str, labels: tuple[str, ...], function: Callable[[], float]
    ) -> None:
        """Ask `read` how a gauge stands, at every scrape."""
        child = self._child(metric, labels)
        self._gauge_functions.append(lambda: child.set(function()))

    def render(self, transform: RegistryTransform = _unchanged) -> bytes:
        """The figures in Prometheus's text format.

        `shown` may put those of several processes in the place of this one's; what was last read
        of the store goes with them.
        """
        self.refresh()
        registry = transform(self._registry)
        if registry is not self._registry:
            registry.register(self._state)
        return generate_latest(registry)

    def refresh(self) -> None:
        """Bring the watched gauges up to date, for others who show them with theirs."""
        for set_level in self._gauge_functions:
            set_level()

    @property
    def registry(self) -> CollectorRegistry:
        """For the library's own server."""
        return self._registry

    def _recorder(self, name: str, labels: tuple[str, ...]) -> Callable[[float], None]:
        fitted = _limited_labels(DEFINITIONS_BY_NAME[name], labels, self._limiter)
        taker = self._recorders.get((name, fitted))
        if taker is None:
            taker = getattr(self._child(name, fitted), _METHODS[DEFINITIONS_BY_NAME[name].kind])
            self._recorders[name, fitted] = taker
        return taker

    def _child(self, name: str, labels: tuple[str, ...]) -> Any:  # noqa: ANN401 - three classes of the library
        metric = self._metrics[name]
        return metric.labels(*labels) if labels else metric

    def _initialize_at_zero(self, definition: MetricDefinition) -> None:
        """A counter that appears with its first 1 hides that first event from `increase`."""
        closed = list(product(*(sorted(label.values) for label in definition.labels)))
        if (
            definition.kind is not MetricKind.GAUGE
            and definition.labels
            and len(closed) <= _MAX_ZERO_SERIES
        ):
            for labels in closed:
                self._recorder(definition.name, labels)


class _RefreshCollector(Collector):
    """Comes first in its registry, and brings the watched gauges up to date."""

    def __init__(self, refresh: Callable[[], None]) -> None:
        self._refresh = refresh

    def collect(self) -> Iterator[Metric]:
        self._refresh()
        yield from ()


class _StateCollector(Collector):
    """The last reading of the store."""

    def __init__(self, limiter: LabelLimiter) -> None:
        self.gauges: tuple[MetricSample, ...] = ()
        self._limiter = limiter

    def collect(self) -> Iterator[Metric]:
        families: dict[str, GaugeMetricFamily | CounterMetricFamily] = {}
        for sample in _sum_by_labels(self.gauges, self._limiter):
            series = DEFINITIONS_BY_NAME[sample.metric]
            family = families.setdefault(sample.metric, _family(series))
            family.add_metric(sample.labels, sample.value)
        yield from families.values()


_METHODS: Final = {
    MetricKind.COUNTER: "inc",
    MetricKind.GAUGE: "set",
    MetricKind.HISTOGRAM: "observe",
}


def _limited_labels(
    definition: MetricDefinition, labels: tuple[str, ...], limiter: LabelLimiter
) -> tuple[str, ...]:
    if not labels:
        return labels
    return tuple(limiter.limit(one, v) for one, v in zip(definition.labels, labels, strict=True))


def _sum_by_labels(gauges: Iterable[MetricSample], limiter: LabelLimiter) -> Iterator[MetricSample]:
    """What falls together under `other` is added up."""
    sums: dict[tuple[str, tuple[str, ...]], float] = {}
    for level in gauges:
        key = (
            level.metric,
            _limited_labels(DEFINITIONS_BY_NAME[level.metric], level.labels, limiter),
        )
        sums[key] = sums.get(key, 0.0) + level.value
    return (MetricSample(series, labels, amount) for (series, labels), amount in sums.items())


def _family(definition: MetricDefinition) -> GaugeMetricFamily | CounterMetricFamily:
    names = [label.name for label in definition.labels]
    kind = CounterMetricFamily if definition.kind is MetricKind.COUNTER else GaugeMetricFamily
    return kind(definition.name, definition.help, labels=names)


def _metric(definition: MetricDefinition, registry: CollectorRegistry) -> MetricWrapperBase:
    names = [label.name for label in definition.labels]
    match definition.kind:
        case MetricKind.COUNTER:
            return Counter(definition.name, definition.help, names, registry=registry)
        case MetricKind.GAUGE:
            together: Any = _MULTIPROCESS_MODES.get(definition.name, "livemax")
            return Gauge(
                definition.name,
                definition.help,
                names,
                registry=registry,
                multiprocess_mode=together,
            )
        case MetricKind.HISTOGRAM:
            return Histogram(
                definition.name,
                definition.help,
                names,
                registry=registry,
                buckets=definition.buckets,
            )
