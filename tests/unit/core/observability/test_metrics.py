"""Events and the gateway's state move defined metrics only, with labels from their sets."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import NamedTuple, get_args

import pytest

from core.archive import ArchiveError
from core.billing.balance import AccountBalance
from core.billing.settlement import ReservationTotals, SettlementStatus
from core.jobs.job import JobState, Trigger, WaitingFor
from core.models.changes import ModelChangeKind
from core.money import MicroUsd
from core.observability.events import (
    SUBMIT_ROUTE,
    WARNING_CODES,
    BatchAdmitted,
    BatchCompleted,
    BudgetThresholdReached,
    CacheLookup,
    CircuitBreakerTransitioned,
    CostSaved,
    CostSettled,
    DeliveryAttempted,
    EndpointDisabled,
    Event,
    FileReceived,
    JobAdmitted,
    JobPolled,
    JobReconciled,
    JobTransitioned,
    JournalCalled,
    JournalDisconnected,
    JournalReconnected,
    ModelChanged,
    OperationalWarning,
    OutputArchived,
    OutputNotArchived,
    RedisAnswered,
    RedisDisconnected,
    RedisReconnected,
    RequestServed,
    SubmitAnswered,
    UpstreamCalled,
)
from core.observability.gateway_state import (
    ConcurrencyState,
    DeliveryBacklog,
    Dependencies,
    GatewayState,
    OpenJobsState,
    RedisHealth,
    TenantState,
    WindowState,
)
from core.observability.metric_types import (
    OTHER,
    Label,
    LabelLimiter,
    LabelValues,
    MetricKind,
    MetricSource,
)
from core.observability.metrics import METRICS
from core.observability.outcomes import FileOrigin, FileOutcome
from core.observability.prometheus import MetricsRegistry
from core.tenants.cache_policy import CacheStatus
from core.tenants.limits import GlobalLimits
from core.tenants.windows import Window
from core.upstream.circuit_breaker import BreakerReason, BreakerState, CircuitBreaker
from core.webhooks.delivery import DeliveryState
from core.webhooks.endpoint import DisabledReason
from tests.support.records import NOW

SECOND = timedelta(seconds=1)
DEFINITIONS_BY_NAME = {metric.name: metric for metric in METRICS}
CREDENTIALS = ("demo", "a/model")
MOVED = JobTransitioned(
    "req_1", *CREDENTIALS, Trigger.COLLECTED, JobState.COLLECTING, JobState.SUCCEEDED, SECOND
)


class MetricSample(NamedTuple):
    """One value that an event, or a snapshot of Redis, adds to one series."""

    metric: str
    labels: LabelValues = ()
    value: float = 1.0


def metric_samples(event: Event) -> Iterator[MetricSample]:
    """The samples that `event` adds, in the order of the metrics."""
    for metric in METRICS:
        for handler in metric.handlers:
            if isinstance(event, handler.event_type):
                value = 1.0 if handler.value is None else handler.value(event)
                if value is not None:
                    labels = () if handler.labels is None else handler.labels(event)
                    yield MetricSample(metric.name, labels, value)


def gauges(state: GatewayState) -> Iterator[MetricSample]:
    """The samples of `state`."""
    for metric in METRICS:
        if metric.read_state is not None:
            for labels, value in metric.read_state(state):
                yield MetricSample(metric.name, labels, value)


# An event -> what it records.
SAMPLES_OF: dict[Event, list[MetricSample]] = {
    JobAdmitted("req_1", *CREDENTIALS, MicroUsd(630_000)): [
        MetricSample("gateway_jobs_admitted_total", CREDENTIALS),
        MetricSample("gateway_cost_reserved_usd_total", CREDENTIALS, 0.63),
    ],
    JobAdmitted("req_1", *CREDENTIALS, None): [
        MetricSample("gateway_jobs_admitted_total", CREDENTIALS)
    ],
    CacheLookup("req_1", *CREDENTIALS, CacheStatus.HIT): [
        MetricSample("gateway_cache_requests_total", ("hit",))
    ],
    CostSaved("req_1", *CREDENTIALS, MicroUsd(630_000)): [
        MetricSample("gateway_cost_saved_usd_total", CREDENTIALS, 0.63)
    ],
    BatchAdmitted("bat_1", "demo", 3, 2): [MetricSample("gateway_batches_total", ("admitted",))],
    BatchCompleted("bat_1", "demo", 1, 1, 0, SECOND, 1): [
        MetricSample("gateway_batches_total", ("completed",))
    ],
    replace(MOVED, trigger=Trigger.ACCEPTED, before=JobState.SUBMITTING, after=JobState.RUNNING): [
        MetricSample("gateway_job_transitions_total", ("accepted",)),
        MetricSample("gateway_job_start_delay_seconds", (), 1),
        MetricSample("gateway_cost_settled_usd_total", (*CREDENTIALS, "spent"), 0),
    ],
    replace(MOVED, age=9 * SECOND, run_duration=7 * SECOND, detection_lag=SECOND): [
        MetricSample("gateway_job_transitions_total", ("collected",)),
        MetricSample("gateway_jobs_ended_total", (*CREDENTIALS, "succeeded")),
        MetricSample("gateway_job_duration_seconds", ("succeeded",), 9),
        MetricSample("gateway_job_run_duration_seconds", ("a/model",), 7),
        MetricSample("gateway_detection_lag_seconds", ("a/model",), 1),
        MetricSample("gateway_job_overhead_seconds", (), 3),
    ],
    OutputArchived("req_1", *CREDENTIALS, 1000, 2 * SECOND): [
        MetricSample("gateway_outputs_kept_total", ("demo",)),
        MetricSample("gateway_outputs_kept_bytes_total", ("demo",), 1000),
        MetricSample("gateway_output_transfer_duration_seconds", (), 2),
    ],
    OutputNotArchived("req_1", *CREDENTIALS, ArchiveError.STORAGE, "full"): [
        MetricSample("gateway_output_failures_total", ("storage_unavailable",))
    ],
    JobPolled("req_1", *CREDENTIALS, "running"): [
        MetricSample("gateway_polls_total", ("a/model", "running"))
    ],
    CostSettled("req_1", *CREDENTIALS, SettlementStatus.SPENT, MicroUsd(500_000)): [
        MetricSample("gateway_cost_settled_usd_total", (*CREDENTIALS, "spent"), 0.5)
    ],
    BudgetThresholdReached("demo", Window.DAY, 80, MicroUsd(8), MicroUsd(10)): [
        MetricSample("gateway_budget_thresholds_total", ("demo", "day", "80"))
    ],
    SubmitAnswered("req_1", *CREDENTIALS, Trigger.NO_ANSWER, None, None): [
        MetricSample("gateway_upstream_submits_total", ("no_answer",))
    ],
    UpstreamCalled("status", "ok", 200, SECOND): [
        MetricSample("gateway_upstream_call_duration_seconds", ("status", "ok"), 1)
    ],
    DeliveryAttempted("msg_1", "req_1", "demo", 1, "timeout", None, SECOND): [
        MetricSample("gateway_delivery_attempt_duration_seconds", ("timeout",), 1),
        MetricSample("gateway_deliveries_ended_total", ("demo", "delivered"), 0),
        MetricSample("gateway_deliveries_ended_total", ("demo", "failed"), 0),
        MetricSample("gateway_deliveries_ended_total", ("demo", "held"), 0),
    ],
    EndpointDisabled("demo", "end_1", DisabledReason.GONE): [
        MetricSample("gateway_endpoints_disabled_total", ("gone",))
    ],
    DeliveryAttempted(
        "msg_1", "req_1", "demo", 1, "delivered", 200, SECOND, DeliveryState.DELIVERED, 2 * SECOND
    ): [
        MetricSample("gateway_delivery_attempt_duration_seconds", ("delivered",), 1),
        MetricSample("gateway_deliveries_ended_total", ("demo", "delivered")),
        MetricSample("gateway_deliveries_ended_total", ("demo", "failed"), 0),
        MetricSample("gateway_deliveries_ended_total", ("demo", "held"), 0),
        MetricSample("gateway_delivery_lag_seconds", (), 2),
    ],
    DeliveryAttempted(
        "msg_1", "req_1", "demo", 12, "timeout", None, SECOND, DeliveryState.FAILED
    ): [
        MetricSample("gateway_delivery_attempt_duration_seconds", ("timeout",), 1),
        MetricSample("gateway_deliveries_ended_total", ("demo", "delivered"), 0),
        MetricSample("gateway_deliveries_ended_total", ("demo", "failed")),
        MetricSample("gateway_deliveries_ended_total", ("demo", "held"), 0),
        MetricSample("gateway_deliveries_failed_total", ()),
    ],
    RequestServed("x_1", "GET", "/v1/x", 200, 9 * SECOND, wait_duration=8 * SECOND): [
        MetricSample("gateway_http_requests_total", ("/v1/x", "GET", "200")),
        MetricSample("gateway_http_request_duration_seconds", ("/v1/x",), 1),
    ],
    RequestServed("x_1", "POST", SUBMIT_ROUTE, 202, 9 * SECOND, wait_duration=8 * SECOND): [
        MetricSample("gateway_http_requests_total", (SUBMIT_ROUTE, "POST", "202")),
        MetricSample("gateway_http_request_duration_seconds", (SUBMIT_ROUTE,), 1),
        MetricSample("gateway_submissions_total", ("accepted",)),
        MetricSample("gateway_submission_duration_seconds", ("accepted",), 1),
    ],
    RequestServed("x_1", "POST", SUBMIT_ROUTE, 429, SECOND, "limit_reached"): [
        MetricSample("gateway_http_requests_total", (SUBMIT_ROUTE, "POST", "429")),
        MetricSample("gateway_http_request_duration_seconds", (SUBMIT_ROUTE,), 1),
        MetricSample("gateway_submissions_total", ("limit_reached",)),
        MetricSample("gateway_submission_duration_seconds", ("refused",), 1),
    ],
    RequestServed("x_1", "POST", SUBMIT_ROUTE, 503, SECOND, "store_unavailable"): [
        MetricSample("gateway_http_requests_total", (SUBMIT_ROUTE, "POST", "503")),
        MetricSample("gateway_http_request_duration_seconds", (SUBMIT_ROUTE,), 1),
        MetricSample("gateway_submissions_total", ("store_unavailable",)),
        MetricSample("gateway_submission_duration_seconds", ("failed",), 1),
    ],
    RequestServed("x_1", "GET", SUBMIT_ROUTE, 200, SECOND): [
        MetricSample("gateway_http_requests_total", (SUBMIT_ROUTE, "GET", "200")),
        MetricSample("gateway_http_request_duration_seconds", (SUBMIT_ROUTE,), 1),
    ],
    RequestServed("x_1", "GET", "/readyz", 200, SECOND): [
        MetricSample("gateway_http_requests_total", ("/readyz", "GET", "200")),
        MetricSample("gateway_http_request_duration_seconds", ("/readyz",), 1),
    ],
    CircuitBreakerTransitioned(
        "model", "model:a/b", BreakerState.CLOSED, BreakerState.OPEN, BreakerReason.FAILING, None
    ): [MetricSample("gateway_circuit_breaker_transitions_total", ("model", "open"))],
    RedisAnswered(SECOND): [MetricSample("gateway_redis_round_trip_duration_seconds", (), 1)],
    RedisDisconnected("away"): [
        MetricSample("gateway_redis_up", (), 0),
        MetricSample("gateway_redis_disconnects_total"),
    ],
    RedisReconnected(SECOND): [MetricSample("gateway_redis_up", (), 1)],
    JournalCalled("create", SECOND, "ok"): [
        MetricSample("gateway_journal_call_duration_seconds", ("create", "ok"), 1)
    ],
    FileReceived("acme", FileOrigin.UPLOAD, FileOutcome.STORED, 300, SECOND): [
        MetricSample("gateway_files_received_total", ("upload", "stored")),
        MetricSample("gateway_files_received_bytes_total", ("upload",), 300),
        MetricSample("gateway_file_receive_duration_seconds", ("upload",), 1),
    ],
    FileReceived("acme", FileOrigin.SOURCE, FileOutcome.REFUSED, 0, SECOND): [
        MetricSample("gateway_files_received_total", ("source", "refused")),
        MetricSample("gateway_files_received_bytes_total", ("source",), 0),
    ],
    JournalDisconnected("create", "away"): [MetricSample("gateway_journal_up", (), 0)],
    JournalReconnected(SECOND): [MetricSample("gateway_journal_up", (), 1)],
    JobReconciled("req_1", "restore", ""): [
        MetricSample("gateway_jobs_reconciled_total", ("restore",))
    ],
    ModelChanged("a/model", ModelChangeKind.REMOVED, "", ""): [
        MetricSample("gateway_model_changes_total", ("removed",), 1)
    ],
    OperationalWarning("job_step_failed", ""): [
        MetricSample("gateway_warnings_total", ("job_step_failed",))
    ],
}

FULL_STATE = GatewayState(
    NOW,
    SECOND,
    OpenJobsState(
        {JobState.QUEUED: 3}, NOW - 5 * SECOND, None, 1, {WaitingFor.BALANCE: 2}, 12_000_000
    ),
    ConcurrencyState(2, {"a/model": 2}, GlobalLimits(running=9, models=(("a/model", 4),)), 1),
    (
        TenantState(
            "demo",
            running=2,
            waiting=3,
            slot_limit=4,
            windows=(
                WindowState(
                    Window.DAY,
                    5,
                    ReservationTotals(3_000_000, 1_000_000, 500_000),
                    MicroUsd(4_000_000),
                    MicroUsd(250_000),
                ),
            ),
            disabled_reasons=(DisabledReason.GONE, DisabledReason.GONE, DisabledReason.FAILING),
            stored_bytes=10,
            stored_bytes_limit=100,
        ),
    ),
    DeliveryBacklog(7, 2, 1, 3, 1, NOW - 4 * SECOND),
    Dependencies(
        AccountBalance(MicroUsd(9_000_000), NOW, MicroUsd(1_000_000), MicroUsd(2_000_000)),
        {
            "account": CircuitBreaker(state=BreakerState.HALF_OPEN, reason=BreakerReason.FAILING),
            "model:a/model": CircuitBreaker(state=BreakerState.OPEN, reason=BreakerReason.FAILING),
        },
        NOW,
        2,
        1,
    ),
    RedisHealth(1, 2, 3, 4, 5, 6, aof=True, aof_write_ok=False, uptime=SECOND),
)


@pytest.mark.parametrize("event", SAMPLES_OF, ids=lambda event: type(event).__name__)
def test_what_an_event_records(event: Event) -> None:
    assert list(metric_samples(event)) == SAMPLES_OF[event]


def test_every_event_is_counted_or_left_out_on_purpose() -> None:
    counted = {type(event) for event in SAMPLES_OF}
    assert {kind.__name__ for kind in get_args(Event)} - {k.__name__ for k in counted} == {
        "SubmitsResumed",  # the gauge `gateway_submits_allowed` has it
        "SubmitsStopped",
        "AdminAction",  # the audit log has it
        "JobDeleted",  # its HTTP request is counted, and its log line has the id
        "AccountBalanceRead",  # read from Redis with the other gauges
    }


def test_an_end_is_counted_once_and_a_clock_that_is_behind_makes_no_negative_lag() -> None:
    after_the_end = replace(MOVED, before=JobState.SUCCEEDED)
    assert [sample.metric for sample in metric_samples(after_the_end)] == [
        "gateway_job_transitions_total"
    ]
    behind = replace(MOVED, detection_lag=-SECOND)
    assert MetricSample("gateway_detection_lag_seconds", ("a/model",), 0) in list(
        metric_samples(behind)
    )


def _check(samples: Iterable[MetricSample], sources: set[MetricSource]) -> None:
    for sample in samples:
        series = DEFINITIONS_BY_NAME[sample.metric]
        assert series.source in sources
        assert len(sample.labels) == len(series.labels)
        for label, value in zip(series.labels, sample.labels, strict=True):
            assert not label.values or value in label.values, (series.name, label.name, value)


def test_events_and_states_record_metrics_that_exist() -> None:
    events = {MetricSource.BOTH, MetricSource.SERVICE, MetricSource.WORKER}
    for event in SAMPLES_OF:
        _check(metric_samples(event), events)
    _check(gauges(FULL_STATE), {MetricSource.STATE})


def test_a_full_state_has_every_state_metric() -> None:
    defined = {series.name for series in METRICS if series.source is MetricSource.STATE}
    assert {level.metric for level in gauges(FULL_STATE)} == defined


def test_every_metric_has_a_source_or_is_recorded_by_name() -> None:
    by_name = {m.name for m in METRICS if not m.handlers and m.read_state is None}
    assert by_name == {
        "gateway_build_info",
        "gateway_job_subscriptions",
        "gateway_journal_enabled",
        "gateway_labelled_cost_settled_usd_total",
        "gateway_labelled_jobs_ended_total",
        "gateway_clock_skew_seconds",
        "gateway_submits_allowed",
        "gateway_worker_tasks_in_progress",
        "gateway_worker_tasks_limit",
    }


def test_gauges() -> None:
    shown = {(level.metric, level.labels): level.value for level in gauges(FULL_STATE)}
    assert shown["gateway_oldest_unsubmitted_job_age_seconds", ()] == 5
    assert shown["gateway_oldest_in_doubt_job_age_seconds", ()] == 0
    assert shown["gateway_oldest_due_delivery_age_seconds", ()] == 4
    disabled = {key[1]: n for key, n in shown.items() if key[0] == "gateway_disabled_endpoints"}
    assert disabled == {("demo", "gone"): 2, ("demo", "failing"): 1}
    assert shown["gateway_tenant_cost_usd", ("demo", "day", "held")] == 1.5
    assert shown["gateway_tenant_cost_usd", ("demo", "day", "saved")] == 0.25
    assert shown["gateway_tenant_budget_remaining_usd", ("demo", "day")] == 1.5
    assert shown["gateway_circuit_breaker_state", ("probing",)] == 1
    assert shown["gateway_circuit_breaker_open", ("failing",)] == 1
    assert shown["gateway_circuit_breaker_open", ("account_refused",)] == 0
    assert shown["gateway_model_circuit_breaker_open", ("a/model",)] == 1
    assert shown["gateway_jobs_waiting_for", ("balance",)] == 2
    assert shown["gateway_jobs_waiting_for", ("account",)] == 0
    assert shown["gateway_account_balance_missing_usd", ()] == 3
    assert shown["gateway_redis_aof_last_write_ok", ()] == 0


def test_what_is_not_known_is_left_out() -> None:
    shown = {level.metric for level in gauges(GatewayState(NOW))}
    unlimited = {"gateway_slots_limit", "gateway_account_balance_usd", "gateway_redis_aof_enabled"}
    assert not shown & unlimited


def test_label_values_are_limited() -> None:
    limiter = LabelLimiter({"tenant": 2})
    tenant, call = Label("tenant", max_values=9), Label("call", frozenset({"submit"}))
    assert [limiter.limit(tenant, name) for name in ("a", "b", "c", "a")] == ["a", "b", OTHER, "a"]
    assert [limiter.limit(call, name) for name in ("submit", "dance")] == ["submit", OTHER]


def test_ids_of_no_model_take_no_places() -> None:
    """150 ids of models that do not exist took every label of the metrics."""
    limiter = LabelLimiter({})
    model = Label("model", max_values=2, only_confirmed=True)
    limiter.confirm(model, ["kling", "flux", "wan"])
    assert {limiter.limit(model, f"junk-{number}") for number in range(150)} == {OTHER}
    assert [limiter.limit(model, name) for name in ("kling", "flux")] == ["kling", "flux"]
    assert limiter.limit(model, "wan") == OTHER
    assert LabelLimiter({}).limit(model, "kling") == "kling"


def test_a_model_that_succeeds_is_a_label_from_then_on() -> None:
    metrics = MetricsRegistry(MetricSource.WORKER, "0", {})
    metrics.confirm_models(["kling"])
    ends = ((Trigger.RUN_FAILED, JobState.FAILED), (Trigger.COLLECTED, JobState.SUCCEEDED))
    for trigger, after in ends:
        job = ("req_1", "ada", "new/model")
        metrics(JobTransitioned(*job, trigger, JobState.COLLECTING, after, timedelta(seconds=9)))
    lines = metrics.render().decode().splitlines()
    ended = [line for line in lines if line.startswith("gateway_jobs_ended_total")]
    assert len(ended) == 2
    assert any('model="other"' in line and "failed" in line for line in ended)
    assert any('model="new/model"' in line and "succeeded" in line for line in ended)


@pytest.mark.parametrize("series", METRICS, ids=lambda series: series.name)
def test_names_follow_the_conventions(series: object) -> None:
    one = DEFINITIONS_BY_NAME[getattr(series, "name", "")]
    assert one.name.startswith("gateway_")
    assert one.name.endswith("_total") == (one.kind is MetricKind.COUNTER)
    assert bool(one.buckets) == (one.kind is MetricKind.HISTOGRAM)
    assert list(one.buckets) == sorted(set(one.buckets))
    assert one.help.endswith(".")
    assert all(bool(label.values) != bool(label.max_values) for label in one.labels)


def test_each_warning_has_a_series_before_it_happens() -> None:
    # An alert on `increase` does not see the first one otherwise.
    text = MetricsRegistry(MetricSource.WORKER, "0", {}).render().decode()
    assert [code for code in WARNING_CODES if f'{{code="{code}"}} 0.0' not in text] == []
