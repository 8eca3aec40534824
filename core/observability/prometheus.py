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

from core.observability.event_metrics import Labels, Sample, samples
from core.observability.events import Event
from core.observability.metric_definitions import BY_NAME, CATALOGUE, Kind, Series, Source

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
_MOST_ZEROES: Final = 32


Shown = Callable[[CollectorRegistry], CollectorRegistry]
_TOGETHER: Final = {"gateway_redis_up": "livemin", "gateway_job_subscriptions": "livesum"}
"""How processes that share their figures show a gauge as one; others show the largest."""


def _own(registry: CollectorRegistry) -> CollectorRegistry:
    return registry


class Figures:
    """One process's figures. An `Emit`."""

    def __init__(self, source: Source, labels: Labels) -> None:
        """Show the series of `source`, and those of both processes."""
        # Else as many series again, of instants that nobody asks for; there is no other switch.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # the library left it untyped
        self._labels = labels
        self._registry = CollectorRegistry()
        self._watched: list[Callable[[], None]] = []
        self._registry.register(_Refresh(self.refresh))
        self._state = _State(labels)
        self._takes: dict[tuple[str, tuple[str, ...]], Callable[[float], None]] = {}
        own = [s for s in CATALOGUE if s.source in {source, Source.BOTH}]
        self._metrics = {series.name: _metric(series, self._registry) for series in own}
        for series in own:
            self._begin_at_zero(series)
        self._registry.register(self._state)
        ProcessCollector(registry=self._registry)

    def __call__(self, event: Event) -> None:
        """Count what happened."""
        for sample in samples(event):
            self.take(sample)

    def take(self, sample: Sample) -> None:
        """Count one figure; one that this process does not show is passed over."""
        # What a label does not fit is never kept here: `_taker` keeps fitted labels alone.
        take = self._takes.get((sample.series, sample.labels))
        if take is None:
            if sample.series not in self._metrics:
                return
            take = self._taker(sample.series, sample.labels)
        take(sample.amount)

    def show(self, levels: Iterable[Sample]) -> None:
        """Show these readings of the store from now on, and none that were shown before."""
        self._state.levels = tuple(levels)

    def watch(self, series: str, labels: tuple[str, ...], read: Callable[[], float]) -> None:
        """Ask `read` how a gauge stands, at every scrape."""
        child = self._child(series, labels)
        self._watched.append(lambda: child.set(read()))

    def render(self, shown: Shown = _own) -> bytes:
        """The figures in Prometheus's text format.

        `shown` may put those of several processes in the place of this one's; what was last read
        of the store goes with them.
        """
        self.refresh()
        registry = shown(self._registry)
        if registry is not self._registry:
            registry.register(self._state)
        return generate_latest(registry)

    def refresh(self) -> None:
        """Bring the watched gauges up to date, for others who show them with theirs."""
        for set_level in self._watched:
            set_level()

    @property
    def registry(self) -> CollectorRegistry:
        """For the library's own server."""
        return self._registry

    def _taker(self, name: str, labels: tuple[str, ...]) -> Callable[[float], None]:
        fitted = _fitted(BY_NAME[name], labels, self._labels)
        taker = self._takes.get((name, fitted))
        if taker is None:
            taker = getattr(self._child(name, fitted), _VERBS[BY_NAME[name].kind])
            self._takes[name, fitted] = taker
        return taker

    def _child(self, name: str, labels: tuple[str, ...]) -> Any:  # noqa: ANN401 - three classes of the library
        metric = self._metrics[name]
        return metric.labels(*labels) if labels else metric

    def _begin_at_zero(self, series: Series) -> None:
        """A counter that appears with its first 1 hides that first event from `increase`."""
        closed = list(product(*(sorted(label.values) for label in series.labels)))
        if series.kind is not Kind.GAUGE and series.labels and len(closed) <= _MOST_ZEROES:
            for labels in closed:
                self._taker(series.name, labels)


class _Refresh(Collector):
    """Comes first in its registry, and brings the watched gauges up to date."""

    def __init__(self, refresh: Callable[[], None]) -> None:
        self._refresh = refresh

    def collect(self) -> Iterator[Metric]:
        self._refresh()
        yield from ()


class _State(Collector):
    """The last reading of the store."""

    def __init__(self, labels: Labels) -> None:
        self.levels: tuple[Sample, ...] = ()
        self._labels = labels

    def collect(self) -> Iterator[Metric]:
        families: dict[str, GaugeMetricFamily | CounterMetricFamily] = {}
        for sample in _summed(self.levels, self._labels):
            series = BY_NAME[sample.series]
            family = families.setdefault(sample.series, _family(series))
            family.add_metric(sample.labels, sample.amount)
        yield from families.values()


_VERBS: Final = {Kind.COUNTER: "inc", Kind.GAUGE: "set", Kind.HISTOGRAM: "observe"}


def _fitted(series: Series, labels: tuple[str, ...], book: Labels) -> tuple[str, ...]:
    if not labels:
        return labels
    return tuple(book.fit(one, v) for one, v in zip(series.labels, labels, strict=True))


def _summed(levels: Iterable[Sample], book: Labels) -> Iterator[Sample]:
    """What falls together under `other` is added up."""
    sums: dict[tuple[str, tuple[str, ...]], float] = {}
    for level in levels:
        key = (level.series, _fitted(BY_NAME[level.series], level.labels, book))
        sums[key] = sums.get(key, 0.0) + level.amount
    return (Sample(series, labels, amount) for (series, labels), amount in sums.items())


def _family(series: Series) -> GaugeMetricFamily | CounterMetricFamily:
    names = [label.name for label in series.labels]
    kind = CounterMetricFamily if series.kind is Kind.COUNTER else GaugeMetricFamily
    return kind(series.name, series.help, labels=names)


def _metric(series: Series, registry: CollectorRegistry) -> MetricWrapperBase:
    names = [label.name for label in series.labels]
    match series.kind:
        case Kind.COUNTER:
            return Counter(series.name, series.help, names, registry=registry)
        case Kind.GAUGE:
            together: Any = _TOGETHER.get(series.name, "livemax")
            return Gauge(
                series.name, series.help, names, registry=registry, multiprocess_mode=together
            )
        case Kind.HISTOGRAM:
            return Histogram(
                series.name, series.help, names, registry=registry, buckets=series.buckets
            )
