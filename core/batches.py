"""A batch: many submits under one decision, one status and one closing event. Pure values.

Its jobs are jobs like any other; the batch counts them and owns none.
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
    """What becomes of a batch that cannot be taken in as a whole."""

    ALL_OR_NOTHING = "all"
    """Nothing is taken in."""
    PARTIAL = "fit"
    """Each item that can be is taken in, in their order."""


class BatchStatus(StrEnum):
    """Whether any job of a batch has still to end."""

    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"


@dataclass(frozen=True, slots=True)
class Batch:
    """The record; it never changes. `size` counts all items, also those that were refused."""

    id: str
    tenant: str
    created_at: datetime
    size: int
    admission_mode: AdmissionMode = AdmissionMode.ALL_OR_NOTHING
    reference: str | None = None
    webhook: str | None = None
    """Where the closing event goes, in place of the tenant's default endpoint."""
    trace: str | None = None


@dataclass(frozen=True, slots=True)
class BatchItem:
    """An item as it stands: a job, or why there is none. `job` None: its record is gone."""

    index: int
    job_id: str | None = None
    cache_status: CacheStatus | None = None
    job: Job | None = None
    rejection: CallerError | bytes | None = None
    """The limit that said no, or a problem document."""


@dataclass(frozen=True, slots=True)
class BatchCounts:
    """How many jobs stand in each public status."""

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
        """Those that have still to end."""
        return self.in_queue + self.in_progress


@dataclass(frozen=True, slots=True)
class BatchSnapshot:
    """A batch as it stands, with those of its items that were asked for."""

    batch: Batch
    counts: BatchCounts
    finished_at: datetime | None = None
    items: tuple[BatchItem, ...] = ()

    @property
    def status(self) -> BatchStatus:
        """The word that a caller sees."""
        return BatchStatus.IN_PROGRESS if self.counts.open else BatchStatus.COMPLETED


def batch_fingerprint(parts: list[str], mode: AdmissionMode) -> str:
    """What two batches of one `Idempotency-Key` must share: the same items in the same order.

    `parts` holds each item's fingerprint, or of one without any what stands for it.
    """
    digest = sha256("\n".join((mode, *parts)).encode()).hexdigest()
    return f"{BATCH_FINGERPRINT_VERSION}:{digest}"
