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
