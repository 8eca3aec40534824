"""The events that business code emits. Metrics, logs and traces are made from them.

Webhook events are something else: `core.webhooks.delivery.WebhookEventType`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from core.archive import ArchiveError
from core.billing.settlement import SettlementStatus
from core.jobs.job import JobState, Trigger
from core.labels import Labels
from core.models.changes import ModelChangeKind
from core.money import MicroUsd
from core.observability.outcomes import FileOrigin, FileOutcome
from core.runtime.statically_frozen import statically_frozen
from core.tenants.cache_policy import CacheStatus
from core.tenants.windows import Window
from core.upstream.circuit_breaker import BreakerReason, BreakerState
from core.webhooks.delivery import DeliveryState
from core.webhooks.endpoint import DisabledReason


@statically_frozen
class JobAdmitted:
    """A submit was admitted: its job is stored."""

    job_id: str
    tenant: str
    model_id: str
    estimate: MicroUsd | None
    trace: str | None = None
    labels: Labels | None = None


@statically_frozen
class CacheLookup:
    """An accepted submit was looked up in the result cache.

    `job_id` is the job that the caller got: a new one, or the one of an earlier submit.
    """

    job_id: str
    tenant: str
    model_id: str
    result: CacheStatus


@dataclass(frozen=True, slots=True)
class CostSaved:
    """A job succeeded with the result of another: a cached one, or that of its leader."""

    job_id: str
    tenant: str
    model_id: str
    amount: MicroUsd


@dataclass(frozen=True, slots=True)
class BatchAdmitted:
    """A batch was accepted: of `size` items, `admitted` were stored as jobs."""

    batch_id: str
    tenant: str
    size: int
    admitted: int
    trace: str | None = None


@dataclass(frozen=True, slots=True)
class BatchCompleted:
    """The last job of a batch has ended, and the completion event was stored.

    `age` is the time since the batch was admitted, `deliveries` the number of webhook deliveries.
    """

    batch_id: str
    tenant: str
    completed: int
    failed: int
    cancelled: int
    age: timedelta
    deliveries: int
    trace: str | None = None


@dataclass(frozen=True, slots=True)
class JobTransitioned:
    """A trigger moved a job. `run_duration` and `detection_lag` are None before the end.

    `age` is the time since the job could first be submitted.
    """

    job_id: str
    tenant: str
    model_id: str
    trigger: Trigger
    before: JobState
    after: JobState
    age: timedelta
    upstream_id: str | None = None
    detail: str | None = None
    run_duration: timedelta | None = None
    """From RunComfy's acceptance until the gateway recorded the end."""
    detection_lag: timedelta | None = None
    """From RunComfy's own `finished_at` until the gateway recorded the end."""
    trace: str | None = None
    labels: Labels | None = None


@dataclass(frozen=True, slots=True)
class OutputArchived:
    """An output was fetched from RunComfy and is kept."""

    job_id: str
    tenant: str
    model_id: str
    bytes: int
    duration: timedelta


@dataclass(frozen=True, slots=True)
class OutputNotArchived:
    """An attempt to keep an output failed; a later one follows unless `reason` is permanent."""

    job_id: str
    tenant: str
    model_id: str
    reason: ArchiveError
    detail: str


@dataclass(frozen=True, slots=True)
class JobDeleted:
    """A caller deleted an ended job: only the log line of this event is left of it."""

    job_id: str
    tenant: str
    model_id: str
    trace: str | None = None


@statically_frozen
class JobPolled:
    """A running job was polled. `outcome` is a word of a closed set."""

    job_id: str
    tenant: str
    model_id: str
    outcome: str


@dataclass(frozen=True, slots=True)
class CostSettled:
    """The reservation of an ended job was settled: its cost is known, or will not become known."""

    job_id: str
    tenant: str
    model_id: str
    settlement: SettlementStatus
    amount: MicroUsd
    labels: Labels | None = None


@dataclass(frozen=True, slots=True)
class BudgetThresholdReached:
    """A tenant used this share of a budget, for the first time in the window."""

    tenant: str
    window: Window
    threshold: int
    used: MicroUsd
    budget: MicroUsd


@dataclass(frozen=True, slots=True)
class ModelChanged:
    """RunComfy changed a model: `core.models.changes.ModelChange` has the fields."""

    model_id: str
    kind: ModelChangeKind
    subject: str
    detail: str


@dataclass(frozen=True, slots=True)
class SubmitAnswered:
    """A paid submit was answered, or not.

    Emitted before the answer is stored, so that the log has RunComfy's id even if the process or
    Redis fails next.
    """

    job_id: str
    tenant: str
    model_id: str
    outcome: Trigger
    upstream_id: str | None
    detail: str | None


@statically_frozen
class UpstreamCalled:
    """A call to RunComfy ended. `outcome` is `ok` or a `FaultKind`."""

    call: str
    outcome: str
    http_status: int | None
    duration: timedelta


@statically_frozen
class DeliveryAttempted:
    """A webhook attempt ended. `outcome` is `delivered` or a `FailureKind`.

    `state` is the delivery's new state; `lag` is the time from the event to its delivery, if it
    was delivered. `detail` is why nothing was answered, or where a redirect leads.
    """

    delivery_id: str
    job_id: str | None
    tenant: str
    attempt: int
    outcome: str
    http_status: int | None
    duration: timedelta
    state: DeliveryState = DeliveryState.PENDING
    lag: timedelta | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class EndpointDisabled:
    """A webhook endpoint was disabled: it answered 410, or failed for days."""

    tenant: str
    endpoint_id: str
    reason: DisabledReason


SUBMIT_ROUTE: Final = "/v1/models/{model_id:path}"
"""The route of a submit, whose metrics are its own."""


@statically_frozen
class RequestServed:
    """An HTTP request was served.

    `route` is the template, never the path; `code` is the problem's code. `status` 499 means that
    the caller disconnected before the answer. `duration` includes `wait_duration`, the time that
    the caller chose to wait for the job. `caller_trace` is the `traceparent` that the caller sent,
    `trace` the one that was passed on. `client` is the caller's address.
    """

    request_id: str
    method: str
    route: str
    status: int
    duration: timedelta
    code: str | None = None
    tenant: str | None = None
    job_id: str | None = None
    trace: str | None = None
    caller_trace: str | None = None
    wait_duration: timedelta | None = None
    client: str | None = None


@statically_frozen
class RedisAnswered:
    """A round trip to Redis ended. Too frequent to log; used by a metric."""

    duration: timedelta


@dataclass(frozen=True, slots=True)
class RedisDisconnected:
    """Redis stopped answering."""

    detail: str


@dataclass(frozen=True, slots=True)
class RedisReconnected:
    """Redis answers again."""

    downtime: timedelta


@dataclass(frozen=True, slots=True)
class JournalCalled:
    """A call of the journal of paid submits ended. Too frequent to log; used by a metric."""

    operation: str
    duration: timedelta
    outcome: str


@dataclass(frozen=True, slots=True)
class FileReceived:
    """An upload, or the fetch of a private source, ended. `bytes` are those of a kept file."""

    tenant: str
    origin: FileOrigin
    outcome: FileOutcome
    bytes: int
    duration: timedelta
    job_id: str | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class JournalDisconnected:
    """The journal of paid submits stopped answering: no submit leaves until it answers again."""

    operation: str
    detail: str


@dataclass(frozen=True, slots=True)
class JournalReconnected:
    """The journal of paid submits answers again."""

    downtime: timedelta


@dataclass(frozen=True, slots=True)
class SubmitsStopped:
    """The store is not the known one, or went back: no submit leaves. `status` is the reason."""

    status: str
    detail: str


@dataclass(frozen=True, slots=True)
class SubmitsResumed:
    """The journal was compared with the store, and submits may leave."""


@dataclass(frozen=True, slots=True)
class JobReconciled:
    """The store learnt from the journal what it lacked of a job."""

    job_id: str
    difference: str
    detail: str


WARNING_CODES: Final = frozenset(
    {
        "archive_step_failed",
        "balance_fetch_failed",
        "balance_sync_failed",
        "batch_completion_failed",
        "batch_write_failed",
        "budget_thresholds_failed",
        "catalogue_fetch_failed",
        "catalogue_invalid",
        "catalogue_sync_failed",
        "child_process_died",
        "clock_sync_failed",
        "delivery_step_failed",
        "dispatch_failed",
        "durability_check_failed",
        "few_file_descriptors",
        "file_expiry_failed",
        "heartbeat_failed",
        "illegal_transition",
        "index_pruning_failed",
        "input_files_unavailable",
        "internal_error",
        "job_record_missing",
        "job_step_failed",
        "journal_check_failed",
        "journal_off",
        "journal_sweep_failed",
        "listed_models_refresh_failed",
        "orphan_check_failed",
        "pinned_model_changed",
        "pubsub_disconnected",
        "redis_not_durable",
        "replay_failed",
        "run_times_invalid",
        "run_times_refresh_failed",
        "second_acceptance",
        "store_check_failed",
    }
)


@dataclass(frozen=True, slots=True)
class OperationalWarning:
    """Something an operator should read. `code` is one of `WARNING_CODES`."""

    code: str
    detail: str
    job_id: str | None = None
    error: BaseException | None = None
    """The exception, if the warning means a defect: the log gets its traceback."""


@dataclass(frozen=True, slots=True)
class CircuitBreakerTransitioned:
    """A circuit breaker for submits opened, sends a probe, or closed."""

    kind: str
    """`account`, `balance` or `model`."""
    circuit: str
    """Its name: the kind, and of a model its id."""
    before: BreakerState
    after: BreakerState
    reason: BreakerReason | None
    detail: str | None


@dataclass(frozen=True, slots=True)
class AccountBalanceRead:
    """RunComfy's account balance, emitted every minute by every worker."""

    balance: MicroUsd
    spend_per_hour: MicroUsd | None
    time_left: timedelta | None


@dataclass(frozen=True, slots=True)
class AdminAction:
    """An operator's action; the audit log has the same entry."""

    actor: str
    action: str
    subject: str
    change: str
    address: str = ""


Event = (
    JobAdmitted
    | BudgetThresholdReached
    | ModelChanged
    | CacheLookup
    | CostSaved
    | BatchAdmitted
    | BatchCompleted
    | JobTransitioned
    | JobDeleted
    | OutputArchived
    | OutputNotArchived
    | JobPolled
    | CostSettled
    | SubmitAnswered
    | UpstreamCalled
    | DeliveryAttempted
    | EndpointDisabled
    | RequestServed
    | CircuitBreakerTransitioned
    | AccountBalanceRead
    | AdminAction
    | RedisAnswered
    | RedisDisconnected
    | RedisReconnected
    | JournalCalled
    | FileReceived
    | JournalDisconnected
    | JournalReconnected
    | SubmitsStopped
    | SubmitsResumed
    | JobReconciled
    | OperationalWarning
)
Emit = Callable[[Event], None]
