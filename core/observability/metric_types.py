"""What a metric is: its name, its labels, and what moves it. Knows no Prometheus."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, TypeVar

from core.observability.events import Event
from core.observability.gateway_state import GatewayState

OTHER: Final = "other"
"""Stands for every value that is outside a closed set, or above the limit of an open one."""

LabelValues = tuple[str, ...]
Reading = tuple[LabelValues, float]
"""The label values, in the order of the metric's labels, and the number."""
StateReader = Callable[[GatewayState], Iterable[Reading]]


class MetricKind(StrEnum):
    """Prometheus's own kinds."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class MetricSource(StrEnum):
    """Which process exposes a metric."""

    SERVICE = "service"
    WORKER = "worker"
    BOTH = "both"
    """Each process counts what it did itself."""
    STATE = "state"
    """Read from Redis; every service exposes the same value: take the `max`, never the `sum`."""


@dataclass(frozen=True, slots=True)
class Label:
    """A label's values: a closed set, or (`values` empty) the first `max_values` that occur.

    With `only_confirmed` a value must have been confirmed before (`LabelLimiter.confirm`).
    """

    name: str
    values: frozenset[str] = frozenset()
    max_values: int = 0
    only_confirmed: bool = False


def closed_label(name: str, *values: str) -> Label:
    """Return a label that takes these values only."""
    return Label(name, frozenset(values))


# Open sets: 100 values of each bound the number of series that one process creates.
TENANT: Final = Label("tenant", max_values=100)
# Callers write model ids: ids of no model must not take the places of those that run.
MODEL: Final = Label("model", max_values=100, only_confirmed=True)


@dataclass(frozen=True, slots=True)
class EventHandler:
    """How one type of event moves a metric.

    `labels` None: the metric has none. `value` returns the increment of a counter, the observation
    of a histogram or the new value of a gauge, and if it returns None nothing is recorded; without
    `value` it is 1.
    """

    event_type: type
    labels: Callable[[Any], LabelValues] | None
    value: Callable[[Any], float | None] | None


@dataclass(frozen=True, slots=True)
class MetricDefinition:
    """One metric, and the only code that moves it.

    `buckets` are a histogram's upper bounds, in the unit that ends the name. `handlers` read
    events; `read_state` reads the metric from a snapshot of Redis. A metric with neither is
    recorded by name by the process that exposes it.
    """

    name: str
    kind: MetricKind
    source: MetricSource
    help: str
    labels: tuple[Label, ...] = ()
    buckets: tuple[float, ...] = ()
    handlers: tuple[EventHandler, ...] = ()
    read_state: StateReader | None = None


_E = TypeVar("_E", bound=Event)


def on(
    event_type: type[_E],
    labels: Callable[[_E], LabelValues] | None = None,
    value: Callable[[_E], float | None] | None = None,
) -> EventHandler:
    """Return the handler of `event_type`; the default adds 1 to a metric without labels."""
    return EventHandler(event_type, labels, value)


class LabelLimiter:
    """Keeps the number of label values bounded: every value beyond becomes `other`.

    One per process: an open label takes the first values that occur in it.
    """

    def __init__(self, overrides: Mapping[str, int]) -> None:
        """`overrides` replaces the number of values of an open label, by the label's name."""
        self._overrides = overrides
        self._seen: dict[str, set[str]] = {}
        self._confirmed: dict[str, set[str]] = {}

    def confirm(self, label: Label, values: Iterable[str]) -> None:
        """Let these values of a label with `only_confirmed` appear; none is limited before."""
        self._confirmed.setdefault(label.name, set()).update(values)

    def _is_confirmed(self, label: Label, value: str) -> bool:
        confirmed = self._confirmed.get(label.name) if label.only_confirmed else None
        return confirmed is None or value in confirmed

    def limit_all(self, labels: tuple[Label, ...], values: LabelValues) -> LabelValues:
        """Return `values`, each limited by its label."""
        return tuple(self.limit(one, value) for one, value in zip(labels, values, strict=True))

    def limit(self, label: Label, value: str) -> str:
        """Return `value`, or `other`."""
        if label.values:
            return value if value in label.values else OTHER
        seen = self._seen.setdefault(label.name, set())
        if value not in seen:
            if not self._is_confirmed(label, value):
                return OTHER
            if len(seen) >= self._overrides.get(label.name, label.max_values):
                return OTHER
            seen.add(value)
        return value
