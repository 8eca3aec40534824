"""A webhook delivery, one event to one endpoint: types of events, record, states. Knows no HTTP."""

from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from core.jobs.job import PublicStatus
from core.jobs.timeline import TimelineEntry
from core.webhooks.circuit_breaker import EndpointCircuit


class DeliveryState(StrEnum):
    """The state of a delivery."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"
    """Every attempt was made, or its endpoint does not exist any more."""
    HELD = "held"
    """Its endpoint is disabled; it is sent when that is enabled again."""


class WebhookEventType(StrEnum):
    """The type of a webhook event."""

    IN_QUEUE = "request.in_queue"
    IN_PROGRESS = "request.in_progress"
    COMPLETED = "request.completed"
    FAILED = "request.failed"
    CANCELLED = "request.cancelled"
    ARCHIVED = "request.archived"
    BATCH_COMPLETED = "batch.completed"
    BUDGET_THRESHOLD = "budget.threshold"
    ENDPOINT_DISABLED = "endpoint.disabled"
    TEST = "webhook.test"


EVENT_OF_STATUS: Final = {
    PublicStatus.IN_QUEUE: WebhookEventType.IN_QUEUE,
    PublicStatus.IN_PROGRESS: WebhookEventType.IN_PROGRESS,
    PublicStatus.COMPLETED: WebhookEventType.COMPLETED,
    PublicStatus.FAILED: WebhookEventType.FAILED,
    PublicStatus.CANCELLED: WebhookEventType.CANCELLED,
}

STATUS_OF_EVENT: Final = {event: status for status, event in EVENT_OF_STATUS.items()}

UNDELIVERED_STATES: Final = frozenset({DeliveryState.FAILED, DeliveryState.HELD})
"""The states of events that an endpoint has not received."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event for one endpoint. `id` is the `webhook-id` of every attempt.

    `endpoint_id` is None for a URL that came with a submit. `queue` names the deliveries that share
    a circuit breaker (`core.webhooks.circuit_breaker`). `data` is the event's data as JSON, for
    events that are not about a job.
    """

    id: str
    job_id: str | None
    tenant: str
    event: WebhookEventType
    url: str
    created_at: datetime
    next_attempt_at: datetime | None
    state: DeliveryState = DeliveryState.PENDING
    version: int = 1
    attempts: int = 0
    last_outcome: str | None = None
    finished_at: datetime | None = None
    trace: str | None = None
    """The `traceparent` of its job's submit."""
    endpoint_id: str | None = None
    queue: str = ""
    data: str | None = None
    resent_at: datetime | None = None
    uncounted_attempts: int = 0
    """Attempts that the retry schedule does not count: those before the last resend, and those that
    failed because of the gateway itself."""
    unknown_fields: tuple[Any, ...] = field(default=(), repr=False, compare=False)
    """What another release has stored; see `core.store.unknown_fields`."""

    @property
    def round_started_at(self) -> datetime:
        """When the present series of attempts started."""
        return self.resent_at or self.created_at

    def resend(self, now: datetime) -> "Delivery":
        """Return the delivery, due now and with a new series of attempts."""
        return replace(
            self,
            version=self.version + 1,
            state=DeliveryState.PENDING,
            next_attempt_at=now,
            finished_at=None,
            resent_at=now,
            uncounted_attempts=self.attempts,
        )

    def finish(self, state: DeliveryState, reason: str, now: datetime) -> "Delivery":
        """Return the delivery, ended or held, without a further attempt."""
        return replace(
            self,
            version=self.version + 1,
            state=state,
            next_attempt_at=None,
            last_outcome=reason,
            finished_at=now,
        )


@dataclass(frozen=True, slots=True)
class DeliveryAttempt:
    """The record of one attempt. `outcome` is `delivered` or a `FailureKind`."""

    at: datetime
    number: int
    outcome: str
    duration_ms: int
    http_status: int | None = None
    response_excerpt: str | None = None


@dataclass(frozen=True, slots=True)
class ClaimedDelivery:
    """A delivery leased to a worker, and the circuit of its queue when it was claimed."""

    delivery: Delivery
    circuit: EndpointCircuit


@dataclass(frozen=True, slots=True)
class CircuitUpdate:
    """The next record of a circuit, stored only over `before`; the two are equal if unchanged."""

    queue: str
    before: EndpointCircuit
    after: EndpointCircuit


@dataclass(frozen=True, slots=True)
class DeliveryUpdate:
    """The update of a claimed delivery and of its circuit. `attempt` None: none was made."""

    before: Delivery
    after: Delivery
    circuit: CircuitUpdate
    attempt: DeliveryAttempt | None = None
    entry: TimelineEntry | None = None


@dataclass(frozen=True, slots=True)
class DeliveryRange:
    """A range of a tenant's deliveries by creation time; a page starts after delivery `after`."""

    since: datetime
    until: datetime
    after: str | None = None
