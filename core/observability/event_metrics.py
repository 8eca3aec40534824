"""What an event, or a reading of the store, says in figures. Pure; knows no Prometheus."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import timedelta
from typing import Any, Final, NamedTuple

from core.jobs.job import FINAL_STATES, JobState, Trigger
from core.money import to_usd
from core.observability.events import (
    BatchAdmitted,
    BatchCompleted,
    CacheLookup,
    CircuitBreakerTransitioned,
    CostSaved,
    CostSettled,
    DeliveryAttempted,
    EndpointDisabled,
    Event,
    JobAdmitted,
    JobPolled,
    JobTransitioned,
    OperationalWarning,
    RedisAnswered,
    RedisDisconnected,
    RedisReconnected,
    RequestServed,
    SubmitAnswered,
    UpstreamCalled,
)
from core.observability.metric_labels import ENDED_DELIVERY_STATES, OTHER, Label


class MetricSample(NamedTuple):
    """By how much a counter grows, what a histogram sees, or how a gauge stands.

    A tuple: a submit makes eight of them, and frozen dataclasses take three times as long to make.
    """

    metric: str
    labels: tuple[str, ...] = ()
    value: float = 1.0


class LabelLimiter:
    """Keeps label values within their sets: what has no place there becomes `other`.

    One for each process: the values of an open label are the first that it meets.
    """

    def __init__(self, overrides: Mapping[str, int]) -> None:
        """`most` overrides how many values an open label takes, by its name."""
        self._overrides = overrides
        self._seen: dict[str, set[str]] = {}

    def limit(self, label: Label, value: str) -> str:
        """`value`, or `other`."""
        if label.values:
            return value if value in label.values else OTHER
        met = self._seen.setdefault(label.name, set())
        if value not in met:
            if len(met) >= self._overrides.get(label.name, label.max_values):
                return OTHER
            met.add(value)
        return value


def metric_samples(event: Event) -> Iterable[MetricSample]:
    """The figures that `event` changes."""
    read = _HANDLERS.get(type(event))
    return () if read is None else read(event)


def _job_admitted(event: JobAdmitted) -> Iterator[MetricSample]:
    whose = (event.tenant, event.model_id)
    yield MetricSample("gateway_jobs_admitted_total", whose)
    if event.estimate is not None:
        yield MetricSample("gateway_cost_reserved_usd_total", whose, to_usd(event.estimate))


def _cache_lookup(event: CacheLookup) -> Iterator[MetricSample]:
    yield MetricSample("gateway_cache_requests_total", (event.result,))


def _cost_saved(event: CostSaved) -> Iterator[MetricSample]:
    whose = (event.tenant, event.model_id)
    yield MetricSample("gateway_cost_saved_usd_total", whose, to_usd(event.amount))


def _batch_admitted(_: BatchAdmitted) -> Iterator[MetricSample]:
    yield MetricSample("gateway_batches_total", ("admitted",))


def _batch_completed(_: BatchCompleted) -> Iterator[MetricSample]:
    yield MetricSample("gateway_batches_total", ("ended",))


def _job_transitioned(event: JobTransitioned) -> Iterator[MetricSample]:
    yield MetricSample("gateway_job_transitions_total", (event.trigger,))
    if event.trigger is Trigger.ACCEPTED:
        yield MetricSample("gateway_job_start_delay_seconds", (), _seconds(event.age))
    if event.after in FINAL_STATES and event.before not in FINAL_STATES:
        yield from _job_ended(event)


def _job_ended(event: JobTransitioned) -> Iterator[MetricSample]:
    yield MetricSample("gateway_jobs_ended_total", (event.tenant, event.model_id, event.after))
    yield MetricSample("gateway_job_duration_seconds", (event.after,), _seconds(event.age))
    if event.run_duration is not None and event.after is JobState.SUCCEEDED:
        yield MetricSample(
            "gateway_job_run_duration_seconds", (event.model_id,), _seconds(event.run_duration)
        )
    if event.detection_lag is not None:
        # Two machines' clocks: a difference below zero is not a lag.
        lag = max(event.detection_lag, timedelta())
        yield MetricSample("gateway_detection_lag_seconds", (event.model_id,), _seconds(lag))
        if event.run_duration is not None:
            own = event.age - event.run_duration + lag
            yield MetricSample("gateway_job_overhead_seconds", (), _seconds(own))


def _job_polled(event: JobPolled) -> Iterator[MetricSample]:
    yield MetricSample("gateway_polls_total", (event.model_id, event.outcome))


def _cost_settled(event: CostSettled) -> Iterator[MetricSample]:
    labels = (event.tenant, event.model_id, event.settlement)
    yield MetricSample("gateway_cost_settled_usd_total", labels, to_usd(event.amount))


def _submit_answered(event: SubmitAnswered) -> Iterator[MetricSample]:
    yield MetricSample("gateway_upstream_submits_total", (event.outcome,))


def _upstream_called(event: UpstreamCalled) -> Iterator[MetricSample]:
    labels = (event.call, event.outcome)
    yield MetricSample("gateway_upstream_call_duration_seconds", labels, _seconds(event.duration))


def _delivery_attempted(event: DeliveryAttempted) -> Iterator[MetricSample]:
    yield MetricSample(
        "gateway_delivery_attempt_duration_seconds", (event.outcome,), _seconds(event.duration)
    )
    for end in ENDED_DELIVERY_STATES:
        # By nothing too: a counter that appears with its first 1 hides it from `increase`.
        yield MetricSample(
            "gateway_deliveries_ended_total", (event.tenant, end), event.state is end
        )
    if event.lag is not None:
        yield MetricSample("gateway_delivery_lag_seconds", (), _seconds(event.lag))


def _request_served(event: RequestServed) -> Iterator[MetricSample]:
    took, status = (
        _seconds(event.duration - (event.wait_duration or timedelta())),
        str(event.status),
    )
    yield MetricSample("gateway_http_requests_total", (event.route, event.method, status))
    yield MetricSample("gateway_http_request_duration_seconds", (event.route,), took)


def _breaker_transitioned(event: CircuitBreakerTransitioned) -> Iterator[MetricSample]:
    yield MetricSample("gateway_circuit_breaker_transitions_total", (event.after,))


def _endpoint_disabled(event: EndpointDisabled) -> Iterator[MetricSample]:
    yield MetricSample("gateway_endpoints_disabled_total", (event.reason,))


def _redis_called(event: RedisAnswered) -> Iterator[MetricSample]:
    yield MetricSample("gateway_redis_round_trip_duration_seconds", (), _seconds(event.duration))


def _redis_disconnected(_: RedisDisconnected) -> Iterator[MetricSample]:
    yield MetricSample("gateway_redis_up", (), 0)
    yield MetricSample("gateway_redis_disconnects_total")


def _redis_reconnected(_: RedisReconnected) -> Iterator[MetricSample]:
    yield MetricSample("gateway_redis_up", (), 1)


def _operational_warning(event: OperationalWarning) -> Iterator[MetricSample]:
    yield MetricSample("gateway_warnings_total", (event.code,))


_HANDLERS: Final[Mapping[type[Event], Callable[[Any], Iterator[MetricSample]]]] = {
    JobAdmitted: _job_admitted,
    CacheLookup: _cache_lookup,
    CostSaved: _cost_saved,
    BatchAdmitted: _batch_admitted,
    BatchCompleted: _batch_completed,
    JobTransitioned: _job_transitioned,
    JobPolled: _job_polled,
    CostSettled: _cost_settled,
    SubmitAnswered: _submit_answered,
    UpstreamCalled: _upstream_called,
    DeliveryAttempted: _delivery_attempted,
    RequestServed: _request_served,
    EndpointDisabled: _endpoint_disabled,
    CircuitBreakerTransitioned: _breaker_transitioned,
    RedisAnswered: _redis_called,
    RedisDisconnected: _redis_disconnected,
    RedisReconnected: _redis_reconnected,
    OperationalWarning: _operational_warning,
}


def _seconds(span: timedelta) -> float:
    return span.total_seconds()
