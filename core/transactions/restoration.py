"""A job that the store has forgotten, as it is stored again. Values only."""

from dataclasses import dataclass

from core.jobs.job import Job
from core.jobs.submission import Submission
from core.jobs.timeline import TimelineEntry


@dataclass(frozen=True, slots=True)
class Restoration:
    """The record to store, the line of its timeline, and what it had beside the record."""

    job: Job
    entry: TimelineEntry
    submission: Submission
    batch: str | None = None
    """The batch that the job was admitted with; its idempotency key is the batch's."""
    settled_repetition: str | None = None
    """The repetition of which no job can be submitted any more that is this one. Its key is the
    job's again, but not that of a batch."""
    settled_jobs: tuple[str, ...] = ()
    """The jobs of the repetition that were ended for this one. If the store went back again, one
    of them may be to be submitted: then the repetition is not settled."""

    follower: Job | None = None
    """The job as the store still has it: as a follower. It was promoted, which is forgotten."""

    @property
    def admitted_as(self) -> str:
        """What a repetition of the idempotency key is answered with: a job's id, or a batch's."""
        return self.batch or self.job.id


@dataclass(frozen=True, slots=True)
class RestorationResult:
    """Whether the job was stored. It is not if it is there, or if there is a repetition."""

    is_stored: bool
    repetition: str | None = None
    """The job or batch that was admitted for the same idempotency key and the same request since
    the store forgot this job. It must not be paid for as well."""
    is_marked: bool = True
    """False: the job is gone, and is not stored because the store is not marked as gone back."""
