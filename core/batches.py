"""A batch: many submits with one admission, one status and one completion event. Pure values.

Its jobs are ordinary jobs; the batch counts them and does not own them.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import Final

from core.errors import CallerError
from core.jobs.job import Job
from core.tenants.cache_policy import CacheStatus

MAX_BATCH_ITEMS: Final = 1000
BATCH_FINGERPRINT_VERSION: Final = "b1"


class AdmissionMode(StrEnum):
    """What happens to a batch that cannot be admitted as a whole."""

    ALL_OR_NOTHING = "all"
    """No item is admitted."""
    PARTIAL = "fit"
    """Each item that can be admitted is, in the order of the items."""


class BatchStatus(StrEnum):
    """Whether any job of a batch is still open."""

    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"


@dataclass(frozen=True, slots=True)
class Batch:
    """The record; it never changes. `size` counts all items, rejected ones included."""

    id: str
    tenant: str
    created_at: datetime
    size: int
    admission_mode: AdmissionMode = AdmissionMode.ALL_OR_NOTHING
    reference: str | None = None
    webhook: str | None = None
    """The URL of the completion event, in place of the tenant's default endpoint."""
    trace: str | None = None


@dataclass(frozen=True, slots=True)
class BatchItem:
    """An item: its job, or the reason why it has none. `job` is None once its record expired."""

    index: int
    job_id: str | None = None
    cache_status: CacheStatus | None = None
    job: Job | None = None
    rejection: CallerError | bytes | None = None
    """The limit that rejected it, or a problem document."""


@dataclass(frozen=True, slots=True)
class BatchCounts:
    """The number of jobs in each public status."""

    in_queue: int = 0
    in_progress: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0

    @property
    def admitted(self) -> int:
        """All jobs of the batch."""
        return self.open + self.completed + self.failed + self.cancelled

    @property
    def open(self) -> int:
        """Jobs that have not ended."""
        return self.in_queue + self.in_progress


@dataclass(frozen=True, slots=True)
class BatchSnapshot:
    """A batch at one moment, with the requested range of its items."""

    batch: Batch
    counts: BatchCounts
    finished_at: datetime | None = None
    items: tuple[BatchItem, ...] = ()

    @property
    def status(self) -> BatchStatus:
        """The status that callers see."""
        return BatchStatus.IN_PROGRESS if self.counts.open else BatchStatus.COMPLETED


def batch_fingerprint(parts: list[str], mode: AdmissionMode) -> str:
    """Return a digest that is equal for the same items in the same order.

    Two batches with one `Idempotency-Key` must have the same. `parts` holds each item's
    fingerprint; an item without one is represented by another text.
    """
    digest = sha256("\n".join((mode, *parts)).encode()).hexdigest()
    return f"{BATCH_FINGERPRINT_VERSION}:{digest}"
