"""Metrics by the labels that an operator named."""

from datetime import timedelta

from core.billing.settlement import SettlementStatus
from core.jobs.job import JobState, Trigger
from core.money import MicroUsd
from core.observability.events import CostSettled, Event, JobAdmitted, JobTransitioned
from core.observability.job_label_metrics import COST_SETTLED, JOBS_ENDED, JobLabelMetrics
from core.observability.metric_types import LabelValues, MetricSource
from core.observability.prometheus import MetricsRegistry

LABELS = ("project=x", "team=growth", "user=ada")
NAMED = {"team": frozenset({"growth"}), "project": frozenset({"y"})}


def ended(before: JobState = JobState.COLLECTING) -> JobTransitioned:
    return JobTransitioned(
        "j", "t", "m", Trigger.COLLECTED, before, JobState.SUCCEEDED, timedelta(1), labels=LABELS
    )


SETTLED = CostSettled("j", "t", "m", SettlementStatus.SPENT, MicroUsd(1_500_000), LABELS)


def recorded(
    named: dict[str, frozenset[str]], *events: Event
) -> list[tuple[str, LabelValues, float]]:
    found: list[tuple[str, LabelValues, float]] = []
    observe = JobLabelMetrics(lambda *record: found.append(record), named)
    for event in events:
        observe(event)
    return found


def test_a_job_counts_under_each_named_label() -> None:
    assert recorded(NAMED, ended(), SETTLED) == [
        (JOBS_ENDED, ("project", "other", "succeeded"), 1),
        (JOBS_ENDED, ("team", "growth", "succeeded"), 1),
        (COST_SETTLED, ("project", "other", "spent"), 1.5),
        (COST_SETTLED, ("team", "growth", "spent"), 1.5),
    ]


def test_nothing_is_recorded_of_other_labels_and_events() -> None:
    assert recorded({}, ended(), SETTLED) == []
    admitted = JobAdmitted("j", "t", "m", None, labels=LABELS)
    assert recorded(NAMED, ended(JobState.SUCCEEDED), admitted) == []


def test_the_series_exist() -> None:
    metrics = MetricsRegistry(MetricSource.WORKER, "0", {})
    observe = JobLabelMetrics(metrics.record, NAMED)
    observe(ended())
    observe(SETTLED)
    text = metrics.render().decode()
    labels = 'label="team",settlement="spent",value="growth"'
    assert f"{COST_SETTLED}{{{labels}}} 1.5" in text
