"""Metrics by the labels of jobs: only of labels that the operator named, with their values."""

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from core.labels import Labels, labels_to_dict
from core.money import to_usd
from core.observability.events import CostSettled, Event, JobTransitioned
from core.observability.metric_types import OTHER, LabelValues
from core.observability.metrics import is_end

JOBS_ENDED: Final = "gateway_labelled_jobs_ended_total"
COST_SETTLED: Final = "gateway_labelled_cost_settled_usd_total"

NamedLabels = Mapping[str, frozenset[str]]
"""The values that appear in metrics, by the label's key; other values appear as `other`."""
Record = Callable[[str, LabelValues, float], None]


class JobLabelMetrics:
    """Moves one series for each named label of a job. An `Emit`.

    A job with two named labels counts under both: sums over different keys count it twice.
    """

    def __init__(self, record: Record, named: NamedLabels) -> None:
        """Record by `record(metric name, label values, amount)`."""
        self._record = record
        self._named = named

    def __call__(self, event: Event) -> None:
        """Count a job that ended, or the cost that was settled."""
        if not self._named:
            return
        if isinstance(event, JobTransitioned) and is_end(event):
            for key, value in self._named_pairs(event.labels):
                self._record(JOBS_ENDED, (key, value, event.after), 1)
        elif isinstance(event, CostSettled):
            for key, value in self._named_pairs(event.labels):
                labels = (key, value, event.settlement)
                self._record(COST_SETTLED, labels, to_usd(event.amount))

    def _named_pairs(self, labels: Labels | None) -> Iterator[tuple[str, str]]:
        for key, value in labels_to_dict(labels or ()).items():
            if key in self._named:
                yield key, value if value in self._named[key] else OTHER
