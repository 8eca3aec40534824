"""A callback on its way to a receiver: the record and its states. Knows no HTTP and no signing."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class DeliveryState(StrEnum):
    """Where a delivery stands."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"
    """Every attempt was made, or the receiver said that it is gone."""


class EventType(StrEnum):
    """What a callback tells of."""

    IN_QUEUE = "request.in_queue"
    IN_PROGRESS = "request.in_progress"
    COMPLETED = "request.completed"
    FAILED = "request.failed"
    CANCELLED = "request.cancelled"


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event for one endpoint. `id` is the `webhook-id` of every attempt.

    `due_at` is when the next attempt is due (while a courier holds it: when its lease runs out).
    """

    id: str
    job_id: str
    tenant: str
    event: EventType
    url: str
    created_at: datetime
    due_at: datetime | None
    state: DeliveryState = DeliveryState.PENDING
    version: int = 1
    attempts: int = 0
    last_outcome: str | None = None
    finished_at: datetime | None = None
    trace: str | None = None
    """The `traceparent` that its job was submitted under."""


@dataclass(frozen=True, slots=True)
class DeliveryAttempt:
    """One attempt, as it is kept. `outcome` is a word of a closed set; `took_ms` its duration."""

    at: datetime
    number: int
    outcome: str
    took_ms: int
    http_status: int | None = None
    excerpt: str | None = None
