"""The life of one request: where it stands is a function of when it was sent in and of now.

Knows no HTTP, no JSON and no clock. Money is in micro-dollars.
"""

import math
import random
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

UNKNOWN_WORD = "warming_up"


class Status(StrEnum):
    """The documented words, and ``failed``, which only RunComfy's clients show."""

    IN_QUEUE = "in_queue"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class SimulatedCancelOutcome(StrEnum):
    """What became of the wish to cancel."""

    CANCELLED = "cancelled"
    NOT_CANCELLABLE = "not_cancellable"


class AnomalyKind(StrEnum):
    """How a request's answers depart from the plain story."""

    FAILED = "failed"
    COMPLETED_WITHOUT_OUTPUT = "completed_without_output"
    STATUS_RESULT_DISAGREE = "status_result_disagree"
    UNKNOWN_WORD = "unknown_word"


# Nothing is charged where the result says failed. RunComfy does not say so; this is our guess.
FAILING_ANOMALIES = frozenset({AnomalyKind.FAILED, AnomalyKind.STATUS_RESULT_DISAGREE})


@dataclass(frozen=True, slots=True)
class Anomaly:
    """An oddity and its details."""

    kind: AnomalyKind
    status_word: str = UNKNOWN_WORD
    error: object = "The model could not finish this request."


@dataclass(frozen=True, slots=True)
class DurationRange:
    """A length of time between two bounds."""

    minimum: timedelta
    maximum: timedelta

    def sample(self, rng: random.Random) -> timedelta:
        """Evenly between the bounds; one draw, also when they are the same."""
        return self.minimum + (self.maximum - self.minimum) * rng.random()


@dataclass(frozen=True, slots=True)
class Pace:
    """How long requests wait and run."""

    queue: DurationRange
    run: DurationRange


@dataclass(frozen=True, slots=True)
class Product:
    """What a model makes: ``video``, ``image`` or ``text``, and how many."""

    kind: str
    count: int = 1


@dataclass(frozen=True, slots=True)
class SimulatedRequest:
    """One accepted request. ``place`` is its first position in the queue, counted from 1."""

    request_id: str
    model_id: str
    product: Product
    price: int
    submitted_at: datetime
    starts_at: datetime
    ends_at: datetime
    initial_queue_position: int
    anomaly: Anomaly | None = None
    cancelled_at: datetime | None = None

    def status_at(self, now: datetime) -> Status:
        """The plain story, in which nothing fails."""
        if self.cancelled_at is not None:
            return Status.CANCELLED
        if now < self.starts_at:
            return Status.IN_QUEUE
        return Status.IN_PROGRESS if now < self.ends_at else Status.COMPLETED

    def queue_position_at(self, now: datetime) -> int:
        """Falls evenly from ``place`` to 1 while the request waits."""
        wait = self.starts_at - self.submitted_at
        left = self.starts_at - now
        return (
            max(
                1,
                min(
                    self.initial_queue_position,
                    math.ceil(self.initial_queue_position * (left / wait)),
                ),
            )
            if wait
            else 1
        )

    def finished_at(self, now: datetime) -> datetime | None:
        """When it ended; None while it has not."""
        if self.cancelled_at is not None:
            return self.cancelled_at
        return self.ends_at if now >= self.ends_at else None

    @property
    def charge(self) -> int:
        """What it costs in the end: nothing when cancelled or failed."""
        failing = self.anomaly is not None and self.anomaly.kind in FAILING_ANOMALIES
        return 0 if failing or self.cancelled_at is not None else self.price

    def cancel(self, now: datetime) -> tuple["SimulatedRequest", SimulatedCancelOutcome]:
        """Only a waiting request can be cancelled; asking twice changes nothing."""
        status = self.status_at(now)
        if status is Status.CANCELLED:
            return self, SimulatedCancelOutcome.CANCELLED
        if status is not Status.IN_QUEUE:
            return self, SimulatedCancelOutcome.NOT_CANCELLABLE
        return replace(self, cancelled_at=now), SimulatedCancelOutcome.CANCELLED
