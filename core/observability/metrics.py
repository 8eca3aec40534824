"""Every metric: name, labels, help, and the events that move it.

To add one, add a row here, or in `core.observability.state_metrics` if it is read from Redis.
`docs/metrics.md` is generated from these tables; a test checks that dashboards and alerts use no
other name.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from core.archive import ArchiveError
from core.billing.settlement import SettlementStatus
from core.errors import Unauthenticated
from core.jobs.job import FINAL_STATES, JobState, Trigger
from core.labels import MAX_NAMED_LABELS, MAX_NAMED_VALUES
from core.models.changes import ModelChangeKind
from core.money import to_usd, usd_or_none
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
from core.observability.metric_types import (
    MODEL,
    TENANT,
    EventHandler,
    Label,
    LabelValues,
    MetricDefinition,
    MetricKind,
    MetricSource,
    closed_label,
    on,
)
from core.observability.outcomes import DELIVERED, FailureKind, FaultKind, FileOrigin, FileOutcome
from core.observability.state_metrics import STATE_METRICS
from core.tenants.cache_policy import CacheStatus
from core.tenants.windows import Window
from core.upstream.circuit_breaker import BreakerState
from core.upstream.circuits import CIRCUIT_KINDS
from core.webhooks.delivery import DeliveryState
from core.webhooks.endpoint import DisabledReason

_SERVICE, _WORKER, _BOTH = MetricSource.SERVICE, MetricSource.WORKER, MetricSource.BOTH

_ROUTE: Final = Label("route", max_values=200)
_FINAL_STATE: Final = closed_label("state", *FINAL_STATES)
_SETTLEMENT: Final = closed_label(
    "settlement", SettlementStatus.SPENT, SettlementStatus.ESTIMATED, SettlementStatus.FREE
)
# The operator bounds both; `JobLabelMetrics` lets nothing else through.
_JOB_LABEL: Final = (
    Label("label", max_values=MAX_NAMED_LABELS),
    Label("value", max_values=MAX_NAMED_LABELS * MAX_NAMED_VALUES),
)
_LOOP: Final = closed_label("loop", "jobs", "deliveries", "archives")

UPSTREAM_CALLS: Final = (
    "submit",
    "status",
    "result",
    "cancel",
    "models",
    "model",
    "categories",
    "balance",
)
_ENDED_DELIVERY_STATES: Final = (DeliveryState.DELIVERED, DeliveryState.FAILED, DeliveryState.HELD)

# Histogram bounds, in seconds.
_REDIS_BUCKETS: Final = (0.0002, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 1, 3)
_JOURNAL_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
_HTTP_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
_CALL_BUCKETS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_TRANSFER_BUCKETS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900)
_LAG_BUCKETS: Final = (0.25, 0.5, 1, 2, 3, 5, 10, 20, 30, 60, 120, 300, 900, 3600)
_JOB_BUCKETS: Final = (1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 7200)


def _counter(
    name: str, source: MetricSource, text: str, labels: tuple[Label, ...], *handlers: EventHandler
) -> MetricDefinition:
    return MetricDefinition(name, MetricKind.COUNTER, source, text, labels, (), handlers)


def _gauge(
    name: str, source: MetricSource, text: str, labels: tuple[Label, ...], *handlers: EventHandler
) -> MetricDefinition:
    return MetricDefinition(name, MetricKind.GAUGE, source, text, labels, (), handlers)


def _histogram(
    name: str,
    source: MetricSource,
    text: str,
    buckets: tuple[float, ...],
    labels: tuple[Label, ...],
    *handlers: EventHandler,
) -> MetricDefinition:
    return MetricDefinition(name, MetricKind.HISTOGRAM, source, text, labels, buckets, handlers)


def _duration(
    event: RedisAnswered | JournalCalled | UpstreamCalled | DeliveryAttempted,
) -> float:
    return event.duration.total_seconds()


def _stored_duration(event: FileReceived) -> float | None:
    return event.duration.total_seconds() if event.outcome is FileOutcome.STORED else None


# ------------------------------------------------------------------------------- either process

_PROCESS: Final = (
    _gauge(
        "gateway_build_info",
        _BOTH,
        "The running version; always 1.",
        (closed_label("process", "service", "worker"), Label("version", max_values=5)),
    ),
    _gauge(
        "gateway_redis_up",
        _BOTH,
        "1 while Redis answers this process, else 0.",
        (),
        on(RedisDisconnected, value=lambda _: 0),
        on(RedisReconnected),
    ),
    _counter(
        "gateway_redis_disconnects_total",
        _BOTH,
        "Times that Redis stopped answering.",
        (),
        on(RedisDisconnected),
    ),
    _histogram(
        "gateway_redis_round_trip_duration_seconds",
        _BOTH,
        "Duration of round trips to Redis.",
        _REDIS_BUCKETS,
        (),
        on(RedisAnswered, value=_duration),
    ),
    _counter(
        "gateway_model_changes_total",
        _WORKER,
        "Changes of models between two syncs of RunComfy's catalogue, by kind.",
        (closed_label("kind", *ModelChangeKind),),
        on(ModelChanged, lambda event: (event.kind,)),
    ),
    _counter(
        "gateway_warnings_total",
        _BOTH,
        "Operational warnings, by code.",
        (closed_label("code", *WARNING_CODES),),
        on(OperationalWarning, lambda event: (event.code,)),
    ),
)

# ------------------------------------------------------------------------------------- the API


_ACCEPTED, _REFUSED, _FAILED = "accepted", "refused", "failed"
_CLIENT_ERROR: Final = 400
_SERVER_ERROR: Final = 500


def _is_submit(event: RequestServed) -> bool:
    return event.route == SUBMIT_ROUTE and event.method == "POST"


def _submission_result(event: RequestServed) -> LabelValues:
    if event.status >= _SERVER_ERROR:
        return (_FAILED,)
    return (_REFUSED if event.status >= _CLIENT_ERROR else _ACCEPTED,)


def _served_duration(event: RequestServed) -> float:
    """Return the seconds that the gateway itself took: without the wait that the caller chose."""
    return (event.duration - (event.wait_duration or timedelta())).total_seconds()


_API_PREFIXES: Final = {"/admin/": "admin", "/console": "console"}


def _api_of(event: RequestServed) -> LabelValues:
    route = event.route
    named = (api for prefix, api in _API_PREFIXES.items() if route.startswith(prefix))
    return (next(named, "tenants"),)


def _is_unauthenticated(event: RequestServed) -> float | None:
    return 1 if event.code == Unauthenticated.code else None


def _tenant_and_model(event: JobAdmitted | CostSaved) -> LabelValues:
    return event.tenant, event.model_id


_API: Final = (
    _counter(
        "gateway_http_requests_total",
        _SERVICE,
        "HTTP requests served, by route template.",
        (_ROUTE, Label("method", max_values=10), Label("status", max_values=60)),
        on(RequestServed, lambda event: (event.route, event.method, str(event.status))),
    ),
    _histogram(
        "gateway_http_request_duration_seconds",
        _SERVICE,
        "Duration of HTTP requests, without the time that a caller chose to wait for a job. That "
        "of an answer beyond 64 KiB includes the time in which the caller reads it.",
        _HTTP_BUCKETS,
        (_ROUTE,),
        on(RequestServed, lambda event: (event.route,), _served_duration),
    ),
    _counter(
        "gateway_authentication_failures_total",
        _SERVICE,
        "Requests without a valid key or token, by the API that they called.",
        (closed_label("api", "admin", "console", "tenants"),),
        on(RequestServed, _api_of, _is_unauthenticated),
    ),
    _counter(
        "gateway_submissions_total",
        _SERVICE,
        "Submits received, by outcome: `accepted`, or the problem's code.",
        (Label("outcome", max_values=60),),
        on(
            RequestServed,
            lambda event: (event.code or _ACCEPTED,),
            lambda event: 1 if _is_submit(event) else None,
        ),
    ),
    _histogram(
        "gateway_submission_duration_seconds",
        _SERVICE,
        "Duration of submits, by result: `accepted` (2xx), `refused` (4xx) or `failed` (5xx).",
        _HTTP_BUCKETS,
        (closed_label("result", _ACCEPTED, _REFUSED, _FAILED),),
        on(
            RequestServed,
            _submission_result,
            lambda event: _served_duration(event) if _is_submit(event) else None,
        ),
    ),
    _gauge(
        "gateway_job_subscriptions",
        _SERVICE,
        "Callers that wait for a job or read its event stream.",
        (),
    ),
    _counter(
        "gateway_jobs_admitted_total",
        _SERVICE,
        "Jobs admitted.",
        (TENANT, MODEL),
        on(JobAdmitted, _tenant_and_model),
    ),
    _counter(
        "gateway_cost_reserved_usd_total",
        _SERVICE,
        "Estimated cost of the admitted jobs, in USD.",
        (TENANT, MODEL),
        on(JobAdmitted, _tenant_and_model, lambda event: usd_or_none(event.estimate)),
    ),
    _counter(
        "gateway_cache_requests_total",
        _SERVICE,
        "Accepted submits by cache result: `hit`, `joined` (an identical job in flight), `miss`, "
        "`off`, or `replayed` (by idempotency key).",
        (closed_label("result", *CacheStatus),),
        on(CacheLookup, lambda event: (event.result,)),
    ),
    _counter(
        "gateway_cost_saved_usd_total",
        _BOTH,
        "Cost that jobs saved by sharing the result of another job, in USD.",
        (TENANT, MODEL),
        on(CostSaved, _tenant_and_model, lambda event: to_usd(event.amount)),
    ),
    _counter(
        "gateway_batches_total",
        _BOTH,
        "Batches admitted, and batches completed.",
        (closed_label("phase", "admitted", "completed"),),
        on(BatchAdmitted, lambda _: ("admitted",)),
        on(BatchCompleted, lambda _: ("completed",)),
    ),
)

# ------------------------------------------------------------------------------------------ jobs


def is_end(event: JobTransitioned) -> bool:
    """Return whether the job ended."""
    return event.after in FINAL_STATES and event.before not in FINAL_STATES


def _start_delay(event: JobTransitioned) -> float | None:
    return event.age.total_seconds() if event.trigger is Trigger.ACCEPTED else None


def _age_at_end(event: JobTransitioned) -> float | None:
    return event.age.total_seconds() if is_end(event) else None


def _run_duration(event: JobTransitioned) -> float | None:
    if event.run_duration is None or event.after is not JobState.SUCCEEDED or not is_end(event):
        return None
    return event.run_duration.total_seconds()


def _detection_lag(event: JobTransitioned) -> float | None:
    if event.detection_lag is None or not is_end(event):
        return None
    # RunComfy's clock may be ahead of the gateway's: a negative difference is not a lag.
    return max(event.detection_lag.total_seconds(), 0.0)


def _overhead(event: JobTransitioned) -> float | None:
    lag = _detection_lag(event)
    if lag is None or event.run_duration is None:
        return None
    return (event.age - event.run_duration).total_seconds() + lag


_JOBS: Final = (
    _counter(
        "gateway_job_transitions_total",
        _BOTH,
        "Job state transitions, by trigger.",
        (closed_label("trigger", *Trigger),),
        on(JobTransitioned, lambda event: (event.trigger,)),
    ),
    _counter(
        "gateway_jobs_ended_total",
        _BOTH,
        "Jobs that ended, by final state.",
        (TENANT, MODEL, _FINAL_STATE),
        on(
            JobTransitioned,
            lambda event: (event.tenant, event.model_id, event.after),
            lambda event: 1 if is_end(event) else None,
        ),
    ),
    _counter(
        "gateway_budget_thresholds_total",
        _WORKER,
        "Thresholds of budgets that were reached, once in each window.",
        (TENANT, closed_label("window", *Window), Label("threshold", max_values=10)),
        on(
            BudgetThresholdReached,
            lambda event: (event.tenant, event.window, str(event.threshold)),
        ),
    ),
    _counter(
        "gateway_labelled_jobs_ended_total",
        _BOTH,
        "Jobs that ended, by final state and each label that `GATEWAY_METRICS__LABELS` names.",
        (*_JOB_LABEL, _FINAL_STATE),
    ),
    _counter(
        "gateway_labelled_cost_settled_usd_total",
        _BOTH,
        "Settled cost of ended jobs in USD, by each label that `GATEWAY_METRICS__LABELS` names.",
        (*_JOB_LABEL, _SETTLEMENT),
    ),
    _histogram(
        "gateway_job_duration_seconds",
        _BOTH,
        "Time from a job's admission to its end.",
        _JOB_BUCKETS,
        (_FINAL_STATE,),
        on(JobTransitioned, lambda event: (event.after,), _age_at_end),
    ),
    _histogram(
        "gateway_job_start_delay_seconds",
        _WORKER,
        "Time from admission until RunComfy accepts the job, including the wait for a slot.",
        _LAG_BUCKETS,
        (),
        on(JobTransitioned, value=_start_delay),
    ),
    _histogram(
        "gateway_job_run_duration_seconds",
        _WORKER,
        "Time from RunComfy's acceptance to the stored result, for succeeded jobs.",
        _JOB_BUCKETS,
        (MODEL,),
        on(JobTransitioned, lambda event: (event.model_id,), _run_duration),
    ),
    _histogram(
        "gateway_detection_lag_seconds",
        _WORKER,
        "Time from RunComfy's `finished_at` until the gateway stores the end.",
        _LAG_BUCKETS,
        (MODEL,),
        on(JobTransitioned, lambda event: (event.model_id,), _detection_lag),
    ),
    _histogram(
        "gateway_job_overhead_seconds",
        _WORKER,
        "Time that the gateway adds to a job: before RunComfy accepts it and after it finishes.",
        _LAG_BUCKETS,
        (),
        on(JobTransitioned, value=_overhead),
    ),
    _counter(
        "gateway_cost_settled_usd_total",
        _BOTH,
        "Settled cost of ended jobs in USD: `spent` (reported by RunComfy), `estimated` (not "
        "reported) or `free` (released).",
        (
            TENANT,
            MODEL,
            _SETTLEMENT,
        ),
        # From 0 on: the first cost of a series would be missing in each `increase`.
        on(
            JobTransitioned,
            lambda event: (event.tenant, event.model_id, SettlementStatus.SPENT),
            lambda event: 0 if event.trigger is Trigger.ACCEPTED else None,
        ),
        on(
            CostSettled,
            lambda event: (event.tenant, event.model_id, event.settlement),
            lambda event: to_usd(event.amount),
        ),
    ),
)

# -------------------------------------------------------------------------------------- RunComfy

_UPSTREAM: Final = (
    _counter(
        "gateway_upstream_submits_total",
        _WORKER,
        "Paid submits sent to RunComfy, by outcome.",
        (
            closed_label(
                "outcome", Trigger.ACCEPTED, Trigger.NOT_SENT, Trigger.REJECTED, Trigger.NO_ANSWER
            ),
        ),
        on(SubmitAnswered, lambda event: (event.outcome,)),
    ),
    _histogram(
        "gateway_upstream_call_duration_seconds",
        _WORKER,
        "Duration of calls to RunComfy, by outcome: `ok`, or the kind of fault.",
        _CALL_BUCKETS,
        (closed_label("call", *UPSTREAM_CALLS), closed_label("outcome", "ok", *FaultKind)),
        on(UpstreamCalled, lambda event: (event.call, event.outcome), _duration),
    ),
    _counter(
        "gateway_polls_total",
        _WORKER,
        "Polls of running jobs, by outcome.",
        (MODEL, closed_label("outcome", "queued", "running", "ended", "not_found", "unreachable")),
        on(JobPolled, lambda event: (event.model_id, event.outcome)),
    ),
    _counter(
        "gateway_circuit_breaker_transitions_total",
        _WORKER,
        "State changes of the circuit breakers for submits.",
        (closed_label("circuit", *CIRCUIT_KINDS), closed_label("state", *BreakerState)),
        on(CircuitBreakerTransitioned, lambda event: (event.kind, event.after)),
    ),
)

# --------------------------------------------------------------------------------------- journal

JOURNAL_OPERATIONS: Final = ("create", "answer", "list", "read", "position")

_JOURNAL: Final = (
    _gauge(
        "gateway_journal_enabled",
        _WORKER,
        "1 if paid submits are written to a journal, 0 with `GATEWAY_JOURNAL__URL=off`.",
        (),
    ),
    _gauge(
        "gateway_journal_up",
        _WORKER,
        "1 while the journal answers this worker, else 0: then no submit leaves.",
        (),
        on(JournalDisconnected, value=lambda _: 0),
        on(JournalReconnected),
    ),
    _gauge(
        "gateway_clock_skew_seconds",
        _BOTH,
        "How far the host's clock is ahead of Redis's, by which leases and deadlines are kept.",
        (),
    ),
    _gauge(
        "gateway_submits_allowed",
        _WORKER,
        "1 while Redis is the known store and has forgotten nothing, else 0: no submit leaves.",
        (),
    ),
    _counter(
        "gateway_jobs_reconciled_total",
        _WORKER,
        "Jobs of which Redis lacked something that the journal knows.",
        (closed_label("difference", "attach", "second_acceptance", "restore"),),
        on(JobReconciled, lambda event: (event.difference,)),
    ),
    _histogram(
        "gateway_journal_call_duration_seconds",
        _WORKER,
        "Duration of calls of the journal, by operation and outcome.",
        _JOURNAL_BUCKETS,
        (closed_label("operation", *JOURNAL_OPERATIONS), closed_label("outcome", "ok", "failed")),
        on(JournalCalled, lambda event: (event.operation, event.outcome), _duration),
    ),
)

# -------------------------------------------------------------------------------------- webhooks


def _delivery_ended(state: DeliveryState) -> EventHandler:
    # Adds 0 for the other states too: a counter that first appears with the value 1 hides that 1
    # from `increase`.
    return on(
        DeliveryAttempted,
        lambda event: (event.tenant, state),
        lambda event: event.state is state,
    )


def _delivery_lag(event: DeliveryAttempted) -> float | None:
    return None if event.lag is None else event.lag.total_seconds()


_WEBHOOKS: Final = (
    _histogram(
        "gateway_delivery_attempt_duration_seconds",
        _WORKER,
        "Duration of webhook attempts, by outcome.",
        _CALL_BUCKETS,
        (closed_label("outcome", DELIVERED, *FailureKind),),
        on(DeliveryAttempted, lambda event: (event.outcome,), _duration),
    ),
    _counter(
        "gateway_deliveries_ended_total",
        _WORKER,
        "Webhook deliveries that need no further attempt, by final state.",
        (TENANT, closed_label("state", *_ENDED_DELIVERY_STATES)),
        *map(_delivery_ended, _ENDED_DELIVERY_STATES),
    ),
    _counter(
        "gateway_deliveries_failed_total",
        _WORKER,
        "Webhook deliveries that failed for good, of all tenants.",
        (),
        # One of a tenant's may be the first that this worker has attempted: see above.
        on(
            DeliveryAttempted,
            value=lambda event: 1 if event.state is DeliveryState.FAILED else None,
        ),
    ),
    _histogram(
        "gateway_delivery_lag_seconds",
        _WORKER,
        "Time from an event until its receiver answers 2xx.",
        _LAG_BUCKETS,
        (),
        on(DeliveryAttempted, value=_delivery_lag),
    ),
    _counter(
        "gateway_endpoints_disabled_total",
        _WORKER,
        "Webhook endpoints that were disabled, by reason.",
        (closed_label("reason", *DisabledReason),),
        on(EndpointDisabled, lambda event: (event.reason,)),
    ),
    _gauge(
        "gateway_worker_tasks_in_progress",
        _WORKER,
        "Jobs, deliveries or archives of outputs that this worker is processing.",
        (_LOOP,),
    ),
    _gauge(
        "gateway_worker_tasks_limit",
        _WORKER,
        "Jobs, deliveries or archives of outputs that this worker processes concurrently at most.",
        (_LOOP,),
    ),
)


def _bytes(event: OutputArchived) -> float:
    return float(event.bytes)


_OUTPUTS: Final = (
    _counter(
        "gateway_outputs_kept_total",
        _WORKER,
        "Outputs that were fetched from RunComfy and are kept.",
        (TENANT,),
        on(OutputArchived, lambda event: (event.tenant,)),
    ),
    _counter(
        "gateway_outputs_kept_bytes_total",
        _WORKER,
        "Bytes of these outputs.",
        (TENANT,),
        on(OutputArchived, lambda event: (event.tenant,), _bytes),
    ),
    _histogram(
        "gateway_output_transfer_duration_seconds",
        _WORKER,
        "Duration of the transfer of an output from RunComfy to the storage.",
        _TRANSFER_BUCKETS,
        (),
        on(OutputArchived, value=lambda event: event.duration.total_seconds()),
    ),
    _counter(
        "gateway_output_failures_total",
        _WORKER,
        "Attempts that did not keep an output, by reason.",
        (closed_label("reason", *ArchiveError),),
        on(OutputNotArchived, lambda event: (event.reason,)),
    ),
)


# ----------------------------------------------------------------------------------------- files

_ORIGIN: Final = closed_label("origin", *FileOrigin)

_FILES: Final = (
    _counter(
        "gateway_files_received_total",
        _BOTH,
        "Uploads, and fetches of private sources, by how they ended.",
        (_ORIGIN, closed_label("outcome", *FileOutcome)),
        on(FileReceived, lambda event: (event.origin, event.outcome)),
    ),
    _counter(
        "gateway_files_received_bytes_total",
        _BOTH,
        "Bytes of the files that were stored, or that their tenant had already.",
        (_ORIGIN,),
        on(FileReceived, lambda event: (event.origin,), lambda event: event.bytes),
    ),
    _histogram(
        "gateway_file_receive_duration_seconds",
        _BOTH,
        "How long uploads and fetches of private sources took that stored a file.",
        _TRANSFER_BUCKETS,
        (_ORIGIN,),
        on(FileReceived, lambda event: (event.origin,), _stored_duration),
    ),
)

METRICS: Final[Sequence[MetricDefinition]] = (
    *_PROCESS,
    *_API,
    *_JOBS,
    *_UPSTREAM,
    *_JOURNAL,
    *_WEBHOOKS,
    *_OUTPUTS,
    *_FILES,
    *STATE_METRICS,
)
