"""A callback on its way to an endpoint: the record and its states. Knows no HTTP and no signing."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final

from core.jobs.job import PublicStatus
from core.jobs.timeline import TimelineEntry
from core.webhooks.circuit_breaker import EndpointCircuit


class DeliveryState(StrEnum):
    """Where a delivery stands."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"
    """Every attempt was made, or nobody is there to take it."""
    HELD = "held"
    """Its endpoint is disabled; it is sent when that is enabled again."""


class WebhookEventType(StrEnum):
    """What a callback tells of."""

    IN_QUEUE = "request.in_queue"
    IN_PROGRESS = "request.in_progress"
    COMPLETED = "request.completed"
    FAILED = "request.failed"
    CANCELLED = "request.cancelled"
    BATCH_COMPLETED = "batch.completed"
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
"""What an endpoint never took."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event for one endpoint. `id` is the `webhook-id` of every attempt.

    `due_at` is when the next attempt is due. `endpoint` is the id of the tenant's endpoint, None
    for a URL that came with a submit. `channel` is what it shares a breaker with
    (`core.webhooks.circuit_breaker`). `data` is the event's own data as JSON, for events that
    are not about a job.
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
    """The `traceparent` that its job was submitted under."""
    endpoint_id: str | None = None
    queue: str = ""
    data: str | None = None
    resent_at: datetime | None = None
    attempts_before_resend: int = 0
    """Attempts made before it was last sent anew: the schedule begins again there."""

    @property
    def round_started_at(self) -> datetime:
        """When the present round of attempts began."""
        return self.resent_at or self.created_at

    def resend(self, now: datetime) -> "Delivery":
        """The same event, to be sent anew from the first attempt on."""
        return replace(
            self,
            version=self.version + 1,
            state=DeliveryState.PENDING,
            next_attempt_at=now,
            finished_at=None,
            resent_at=now,
            attempts_before_resend=self.attempts,
        )

    def finish(self, state: DeliveryState, reason: str, now: datetime) -> "Delivery":
        """Ended, or held, without a further attempt."""
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
    """One attempt, as it is kept. `outcome` is a word of a closed set; `took_ms` its duration."""

    at: datetime
    number: int
    outcome: str
    duration_ms: int
    http_status: int | None = None
    response_excerpt: str | None = None


@dataclass(frozen=True, slots=True)
class ClaimedDelivery:
    """A delivery under a courier's lease, and its channel as it stood when it was claimed."""

    delivery: Delivery
    circuit: EndpointCircuit


@dataclass(frozen=True, slots=True)
class CircuitUpdate:
    """A channel's next record, stored only over `before`; both the same where nothing changed."""

    queue: str
    before: EndpointCircuit
    after: EndpointCircuit


@dataclass(frozen=True, slots=True)
class DeliveryUpdate:
    """What became of a claimed delivery and of its channel. Without an attempt none was sent."""

    before: Delivery
    after: Delivery
    circuit: CircuitUpdate
    attempt: DeliveryAttempt | None = None
    entry: TimelineEntry | None = None
