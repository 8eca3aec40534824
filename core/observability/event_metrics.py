"""What an event, or a reading of the store, says in figures. Pure; knows no Prometheus."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import timedelta
from typing import Any, Final, NamedTuple

from core.jobs.job import FINAL_STATES, Fact, JobState
from core.money import to_usd
from core.observability.events import (
    BatchAdmitted,
    BatchEnded,
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
from core.observability.metric_labels import DELIVERY_ENDS, OTHER, Label


class Sample(NamedTuple):
    """By how much a counter grows, what a histogram sees, or how a gauge stands.

    A tuple: a submit makes eight of them, and frozen dataclasses take three times as long to make.
    """

    series: str
    labels: tuple[str, ...] = ()
    amount: float = 1.0


class Labels:
    """Keeps label values within their sets: what has no place there becomes `other`.

    One for each process: the values of an open label are the first that it meets.
    """

    def __init__(self, most: Mapping[str, int]) -> None:
        """`most` overrides how many values an open label takes, by its name."""
        self._most = most
        self._met: dict[str, set[str]] = {}

    def fit(self, label: Label, value: str) -> str:
        """`value`, or `other`."""
        if label.values:
            return value if value in label.values else OTHER
        met = self._met.setdefault(label.name, set())
        if value not in met:
            if len(met) >= self._most.get(label.name, label.most):
                return OTHER
            met.add(value)
        return value


def samples(event: Event) -> Iterable[Sample]:
    """The figures that `event` changes."""
    read = _READERS.get(type(event))
    return () if read is None else read(event)


def _admitted(event: JobAdmitted) -> Iterator[Sample]:
    whose = (event.tenant, event.model_id)
    yield Sample("gateway_jobs_admitted_total", whose)
    if event.estimate is not None:
        yield Sample("gateway_cost_reserved_usd_total", whose, to_usd(event.estimate))


def _found_like(event: CacheLookup) -> Iterator[Sample]:
    yield Sample("gateway_cache_requests_total", (event.result,))


def _saved(event: CostSaved) -> Iterator[Sample]:
    whose = (event.tenant, event.model_id)
    yield Sample("gateway_cost_saved_usd_total", whose, to_usd(event.amount))


def _batch_admitted(_: BatchAdmitted) -> Iterator[Sample]:
    yield Sample("gateway_batches_total", ("admitted",))


def _batch_ended(_: BatchEnded) -> Iterator[Sample]:
    yield Sample("gateway_batches_total", ("ended",))


def _moved(event: JobTransitioned) -> Iterator[Sample]:
    yield Sample("gateway_job_transitions_total", (event.trigger,))
    if event.trigger is Fact.ACCEPTED:
        yield Sample("gateway_job_start_delay_seconds", (), _seconds(event.age))
    if event.after in FINAL_STATES and event.before not in FINAL_STATES:
        yield from _ended(event)


def _ended(event: JobTransitioned) -> Iterator[Sample]:
    yield Sample("gateway_jobs_ended_total", (event.tenant, event.model_id, event.after))
    yield Sample("gateway_job_duration_seconds", (event.after,), _seconds(event.age))
    if event.run_duration is not None and event.after is JobState.SUCCEEDED:
        yield Sample(
            "gateway_job_run_duration_seconds", (event.model_id,), _seconds(event.run_duration)
        )
    if event.detection_lag is not None:
        # Two machines' clocks: a difference below zero is not a lag.
        lag = max(event.detection_lag, timedelta())
        yield Sample("gateway_detection_lag_seconds", (event.model_id,), _seconds(lag))
        if event.run_duration is not None:
            own = event.age - event.run_duration + lag
            yield Sample("gateway_job_overhead_seconds", (), _seconds(own))


def _polled(event: JobPolled) -> Iterator[Sample]:
    yield Sample("gateway_polls_total", (event.model_id, event.outcome))


def _settled(event: CostSettled) -> Iterator[Sample]:
    labels = (event.tenant, event.model_id, event.settlement)
    yield Sample("gateway_cost_settled_usd_total", labels, to_usd(event.amount))


def _answered(event: SubmitAnswered) -> Iterator[Sample]:
    yield Sample("gateway_upstream_submits_total", (event.outcome,))


def _called(event: UpstreamCalled) -> Iterator[Sample]:
    labels = (event.call, event.outcome)
    yield Sample("gateway_upstream_call_duration_seconds", labels, _seconds(event.duration))


def _attempted(event: DeliveryAttempted) -> Iterator[Sample]:
    yield Sample(
        "gateway_delivery_attempt_duration_seconds", (event.outcome,), _seconds(event.duration)
    )
    for end in DELIVERY_ENDS:
        # By nothing too: a counter that appears with its first 1 hides it from `increase`.
        yield Sample("gateway_deliveries_ended_total", (event.tenant, end), event.state is end)
    if event.lag is not None:
        yield Sample("gateway_delivery_lag_seconds", (), _seconds(event.lag))


def _served(event: RequestServed) -> Iterator[Sample]:
    took, status = (
        _seconds(event.duration - (event.wait_duration or timedelta())),
        str(event.status),
    )
    yield Sample("gateway_http_requests_total", (event.route, event.method, status))
    yield Sample("gateway_http_request_duration_seconds", (event.route,), took)


def _breaker(event: CircuitBreakerTransitioned) -> Iterator[Sample]:
    yield Sample("gateway_circuit_breaker_transitions_total", (event.after,))


def _disabled(event: EndpointDisabled) -> Iterator[Sample]:
    yield Sample("gateway_endpoints_disabled_total", (event.reason,))


def _round_trip(event: RedisAnswered) -> Iterator[Sample]:
    yield Sample("gateway_redis_round_trip_duration_seconds", (), _seconds(event.duration))


def _lost(_: RedisDisconnected) -> Iterator[Sample]:
    yield Sample("gateway_redis_up", (), 0)
    yield Sample("gateway_redis_disconnects_total")


def _found(_: RedisReconnected) -> Iterator[Sample]:
    yield Sample("gateway_redis_up", (), 1)


def _troubled(event: OperationalWarning) -> Iterator[Sample]:
    yield Sample("gateway_warnings_total", (event.code,))


_READERS: Final[Mapping[type[Event], Callable[[Any], Iterator[Sample]]]] = {
    JobAdmitted: _admitted,
    CacheLookup: _found_like,
    CostSaved: _saved,
    BatchAdmitted: _batch_admitted,
    BatchEnded: _batch_ended,
    JobTransitioned: _moved,
    JobPolled: _polled,
    CostSettled: _settled,
    SubmitAnswered: _answered,
    UpstreamCalled: _called,
    DeliveryAttempted: _attempted,
    RequestServed: _served,
    EndpointDisabled: _disabled,
    CircuitBreakerTransitioned: _breaker,
    RedisAnswered: _round_trip,
    RedisDisconnected: _lost,
    RedisReconnected: _found,
    OperationalWarning: _troubled,
}


def _seconds(span: timedelta) -> float:
    return span.total_seconds()
