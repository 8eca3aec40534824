"""What observers are told. Metrics and logs are readers of these; business code only emits them."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from core.billing.settlement import SettlementStatus
from core.circuit_breaker import BreakerReason, BreakerState
from core.jobs.job import JobState, Trigger
from core.money import MicroUsd
from core.tenants.cache_policy import CacheStatus
from core.webhooks.delivery import DeliveryState
from core.webhooks.endpoint import DisabledReason


@dataclass(frozen=True, slots=True)
class JobAdmitted:
    """A submit was accepted: the store has it."""

    job_id: str
    tenant: str
    model_id: str
    estimate: MicroUsd | None
    trace: str | None = None


@dataclass(frozen=True, slots=True)
class CacheLookup:
    """A submit was compared with what was there, and accepted. `job_id` is whose answer it got."""

    job_id: str
    tenant: str
    model_id: str
    result: CacheStatus


@dataclass(frozen=True, slots=True)
class CostSaved:
    """A job ended well at another's cost: at once, or with the job that it had joined."""

    job_id: str
    tenant: str
    model_id: str
    amount: MicroUsd


@dataclass(frozen=True, slots=True)
class BatchAdmitted:
    """A batch was accepted: of `size` items the store has `admitted` as jobs."""

    batch_id: str
    tenant: str
    size: int
    admitted: int
    trace: str | None = None


@dataclass(frozen=True, slots=True)
class BatchCompleted:
    """The last job of a batch has ended, and its closing event was written. `age`: from its start.

    `deliveries`: how many callbacks that made.
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
    """A job's record took a fact. `run_duration`, `detection_lag`: at some jobs' ends only."""

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
    """From RunComfy's acceptance to our record of the end."""
    detection_lag: timedelta | None = None
    """From RunComfy's own `finished_at` to our record of the end."""
    trace: str | None = None


@dataclass(frozen=True, slots=True)
class JobDeleted:
    """A job that had ended was deleted at its owner's wish: nothing is left of it but this line."""

    job_id: str
    tenant: str
    model_id: str
    trace: str | None = None


@dataclass(frozen=True, slots=True)
class JobPolled:
    """RunComfy was asked how far a job is. `outcome` is a word of a closed set."""

    job_id: str
    tenant: str
    model_id: str
    outcome: str


@dataclass(frozen=True, slots=True)
class CostSettled:
    """What an ended job's money came to is known now, or known not to become known."""

    job_id: str
    tenant: str
    model_id: str
    settlement: SettlementStatus
    amount: MicroUsd


@dataclass(frozen=True, slots=True)
class SubmitAnswered:
    """What a paid submit met.

    Told before it is stored, so that a log has the id whatever dies next.
    """

    job_id: str
    tenant: str
    model_id: str
    outcome: Trigger
    upstream_id: str | None
    detail: str | None


@dataclass(frozen=True, slots=True)
class UpstreamCalled:
    """One call to RunComfy ended. `outcome` is a word of a closed set."""

    call: str
    outcome: str
    http_status: int | None
    duration: timedelta


@dataclass(frozen=True, slots=True)
class DeliveryAttempted:
    """One attempt at a callback ended. `outcome` is a word of a closed set.

    `state` is where the callback stands now; `lag` is how long the event took to arrive, if it did.
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


@dataclass(frozen=True, slots=True)
class EndpointDisabled:
    """An endpoint gets nothing any more: it said that it is gone, or took nothing for days."""

    tenant: str
    endpoint_id: str
    reason: DisabledReason


@dataclass(frozen=True, slots=True)
class RequestServed:
    """One HTTP call was answered. `route` is the template, never the path; `code` an error's word.

    `status` 499: the caller left before the answer. `duration` holds `wait_duration`, the time
    that the caller asked to wait for the job. `trace` is what was passed on, `caller_trace` what
    the caller sent (`traceparent`s).
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


@dataclass(frozen=True, slots=True)
class RedisAnswered:
    """One round trip to the store ended: many a second, for figures alone."""

    duration: timedelta


@dataclass(frozen=True, slots=True)
class RedisDisconnected:
    """The store stopped answering."""

    detail: str


@dataclass(frozen=True, slots=True)
class RedisReconnected:
    """The store answers again."""

    downtime: timedelta


WARNING_CODES: Final = frozenset(
    {
        "balance_fetch_failed",
        "balance_sync_failed",
        "batch_completion_failed",
        "catalogue_fetch_failed",
        "catalogue_invalid",
        "catalogue_sync_failed",
        "child_process_died",
        "delivery_step_failed",
        "dispatch_failed",
        "heartbeat_failed",
        "illegal_transition",
        "index_pruning_failed",
        "internal_error",
        "job_record_missing",
        "job_step_failed",
        "pubsub_disconnected",
        "redis_not_durable",
        "replay_failed",
        "run_times_invalid",
        "run_times_refresh_failed",
        "second_acceptance",
    }
)
INTERNAL_ERROR_CODES: Final = frozenset(
    {"delivery_step_failed", "illegal_transition", "internal_error", "job_step_failed"}
)
"""The warnings that mean a defect of the gateway: the log has a traceback."""


@dataclass(frozen=True, slots=True)
class OperationalWarning:
    """Something an operator should read. `code` is one of `WARNING_CODES`."""

    code: str
    detail: str
    job_id: str | None = None
    error: BaseException | None = None
    """The exception behind it, when it is a defect: its trace belongs into the log."""


@dataclass(frozen=True, slots=True)
class CircuitBreakerTransitioned:
    """Submits to RunComfy were stopped, are being tried, or go on."""

    before: BreakerState
    after: BreakerState
    reason: BreakerReason | None
    detail: str | None


@dataclass(frozen=True, slots=True)
class AccountBalanceRead:
    """How RunComfy's balance stands; told every minute by every worker, whoever read it."""

    balance: MicroUsd
    spend_per_hour: MicroUsd | None
    time_left: timedelta | None


@dataclass(frozen=True, slots=True)
class AdminAction:
    """An operator did something; the audit log has the same."""

    actor: str
    action: str
    subject: str
    change: str


Event = (
    JobAdmitted
    | CacheLookup
    | CostSaved
    | BatchAdmitted
    | BatchCompleted
    | JobTransitioned
    | JobDeleted
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
    | OperationalWarning
)
Emit = Callable[[Event], None]
