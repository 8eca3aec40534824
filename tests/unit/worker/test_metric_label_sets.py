"""The catalogue's closed sets are the words that the worker really says."""

from core.observability.metric_labels import DELIVERY_OUTCOMES, UPSTREAM_FAULTS
from worker.upstream.error_classification import FAULT_KINDS
from worker.webhooks.outcomes import FailureKind


def test_every_fault_of_runcomfy_has_its_label() -> None:
    assert sorted(UPSTREAM_FAULTS) == sorted(FAULT_KINDS)


def test_every_outcome_of_a_callback_has_its_label() -> None:
    assert sorted(DELIVERY_OUTCOMES) == sorted({"delivered", *FailureKind})
