"""A callback on its way to an endpoint: the record and its states. Knows no HTTP and no signing."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final

from core.jobs.job import PublicStatus
from core.jobs.timeline import TimelineEntry
from core.webhooks.circuit_breaker import Channel


class DeliveryState(StrEnum):
    """Where a delivery stands."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"
    """Every attempt was made, or nobody is there to take it."""
    HELD = "held"
    """Its endpoint is disabled; it is sent when that is enabled again."""


class EventType(StrEnum):
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
    PublicStatus.IN_QUEUE: EventType.IN_QUEUE,
    PublicStatus.IN_PROGRESS: EventType.IN_PROGRESS,
    PublicStatus.COMPLETED: EventType.COMPLETED,
    PublicStatus.FAILED: EventType.FAILED,
    PublicStatus.CANCELLED: EventType.CANCELLED,
}

STATUS_OF_EVENT: Final = {event: status for status, event in EVENT_OF_STATUS.items()}


MISSED: Final = frozenset({DeliveryState.FAILED, DeliveryState.HELD})
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
    endpoint: str | None = None
    channel: str = ""
    data: str | None = None
    resent_at: datetime | None = None
    attempts_before: int = 0
    """Attempts made before it was last sent anew: the schedule begins again there."""

    @property
    def opened_at(self) -> datetime:
        """When the present round of attempts began."""
        return self.resent_at or self.created_at

    def resent(self, now: datetime) -> "Delivery":
        """The same event, to be sent anew from the first attempt on."""
        return replace(
            self,
            version=self.version + 1,
            state=DeliveryState.PENDING,
            due_at=now,
            finished_at=None,
            resent_at=now,
            attempts_before=self.attempts,
        )

    def ended(self, state: DeliveryState, why: str, now: datetime) -> "Delivery":
        """Ended, or held, without a further attempt."""
        return replace(
            self,
            version=self.version + 1,
            state=state,
            due_at=None,
            last_outcome=why,
            finished_at=now,
        )


@dataclass(frozen=True, slots=True)
class DeliveryAttempt:
    """One attempt, as it is kept. `outcome` is a word of a closed set; `took_ms` its duration."""

    at: datetime
    number: int
    outcome: str
    took_ms: int
    http_status: int | None = None
    excerpt: str | None = None


@dataclass(frozen=True, slots=True)
class Claimed:
    """A delivery under a courier's lease, and its channel as it stood when it was claimed."""

    delivery: Delivery
    channel: Channel


@dataclass(frozen=True, slots=True)
class ChannelMove:
    """A channel's next record, stored only over `before`; both the same where nothing changed."""

    name: str
    before: Channel
    after: Channel


@dataclass(frozen=True, slots=True)
class Settlement:
    """What became of a claimed delivery and of its channel. Without an attempt none was sent."""

    before: Delivery
    after: Delivery
    channel: ChannelMove
    attempt: DeliveryAttempt | None = None
    entry: TimelineEntry | None = None
