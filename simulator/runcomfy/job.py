"""One request: its status is a function of its submit time and the current time.

Money is in micro-dollars.
"""

import math
import random
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

UNKNOWN_WORD = "warming_up"


class Status(StrEnum):
    """The states of a request; ``vocabulary`` has the words that each call uses for them."""

    IN_QUEUE = "in_queue"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class AnomalyKind(StrEnum):
    """How a request's responses differ from a normal run."""

    FAILED = "failed"
    COMPLETED_WITHOUT_OUTPUT = "completed_without_output"
    STATUS_RESULT_DISAGREE = "status_result_disagree"
    UNKNOWN_WORD = "unknown_word"


# Nothing is charged for a failed result. RunComfy does not document it; this is an assumption.
FAILING_ANOMALIES = frozenset({AnomalyKind.FAILED, AnomalyKind.STATUS_RESULT_DISAGREE})


@dataclass(frozen=True, slots=True)
class Anomaly:
    """An anomaly and its details."""

    kind: AnomalyKind
    status_word: str = UNKNOWN_WORD
    error: object = "The model could not finish this request."


@dataclass(frozen=True, slots=True)
class DurationRange:
    """A duration between two bounds."""

    minimum: timedelta
    maximum: timedelta

    def sample(self, rng: random.Random) -> timedelta:
        """Return a uniform sample; one random number is drawn even if the bounds are equal."""
        return self.minimum + (self.maximum - self.minimum) * rng.random()


@dataclass(frozen=True, slots=True)
class Pace:
    """How long requests queue and run."""

    queue: DurationRange
    run: DurationRange


@dataclass(frozen=True, slots=True)
class Product:
    """A model's output: ``video``, ``image`` or ``text``, and the number of files."""

    kind: str
    count: int = 1


@dataclass(frozen=True, slots=True)
class SimulatedRequest:
    """One accepted request. Queue positions are counted from 1."""

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
        """Return the status without anomalies."""
        if self.cancelled_at is not None:
            return Status.CANCELLED
        if now < self.starts_at:
            return Status.IN_QUEUE
        return Status.IN_PROGRESS if now < self.ends_at else Status.COMPLETED

    def queue_position_at(self, now: datetime) -> int:
        """Return a position that falls evenly to 1 while the request is queued."""
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
        """Return when it ended; None before."""
        if self.cancelled_at is not None:
            return self.cancelled_at
        return self.ends_at if now >= self.ends_at else None

    @property
    def charge(self) -> int:
        """The final cost: 0 if cancelled or failed."""
        failing = self.anomaly is not None and self.anomaly.kind in FAILING_ANOMALIES
        return 0 if failing or self.cancelled_at is not None else self.price

    def cancel(self, now: datetime) -> "SimulatedRequest":
        """Return the request, cancelled if it was queued."""
        is_queued = self.status_at(now) is Status.IN_QUEUE
        return replace(self, cancelled_at=now) if is_queued else self
