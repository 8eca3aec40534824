"""RunComfy's status words: what each means, and which word its calls return for an ended job.

RunComfy documents `in_queue`, `in_progress`, `completed` and `cancelled` for its status call, where
a failed run is `completed` too, and `succeeded`, `failed`, `in_queue`, `in_progress` and
`cancelled` for its result call. Its own clients accept more words on both.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from core.jobs.job import Job, PublicStatus


class Phase(Enum):
    """The meaning of a status word."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


# The undocumented words are those that RunComfy's own clients handle, and that similar APIs use.
PHASES_BY_STATUS: Final[Mapping[str, Phase]] = {
    "in_queue": Phase.QUEUED,
    "pending": Phase.QUEUED,
    "waiting": Phase.QUEUED,
    "queued": Phase.QUEUED,
    "in_progress": Phase.RUNNING,
    "starting": Phase.RUNNING,
    "processing": Phase.RUNNING,
    "running": Phase.RUNNING,
    "completed": Phase.COMPLETED,
    "succeeded": Phase.COMPLETED,
    "failed": Phase.FAILED,
    "error": Phase.FAILED,
    "cancelled": Phase.CANCELLED,
    "canceled": Phase.CANCELLED,
}
FINAL_PHASES: Final = frozenset({Phase.COMPLETED, Phase.FAILED, Phase.CANCELLED})


@dataclass(frozen=True, slots=True)
class FinalWord:
    """The documented word for an ended job, and the phases whose words may replace it."""

    documented: str
    phases: frozenset[Phase]


FINAL_STATUS_WORDS: Final[Mapping[PublicStatus, FinalWord]] = {
    PublicStatus.COMPLETED: FinalWord("completed", frozenset({Phase.COMPLETED})),
    PublicStatus.FAILED: FinalWord("completed", frozenset({Phase.COMPLETED, Phase.FAILED})),
    PublicStatus.CANCELLED: FinalWord("cancelled", frozenset({Phase.CANCELLED})),
}
"""The status call: only the result call distinguishes a failed run."""

FINAL_RESULT_WORDS: Final[Mapping[PublicStatus, FinalWord]] = {
    PublicStatus.COMPLETED: FinalWord("succeeded", frozenset({Phase.COMPLETED})),
    PublicStatus.FAILED: FinalWord("failed", frozenset({Phase.FAILED})),
    PublicStatus.CANCELLED: FinalWord("cancelled", frozenset({Phase.CANCELLED})),
}
"""The result call. RunComfy's `succeeded` without an output is our `failed`, so it is not used."""


def status_word(job: Job) -> str:
    """Return the word of the status call: RunComfy's own at the job's end, if it fits that end."""
    return _word(job.status, job.upstream_status, FINAL_STATUS_WORDS)


def result_word(job: Job) -> str:
    """Return the word of the result call: RunComfy's own at the job's end, if it fits that end."""
    return _word(job.status, job.upstream_result_status, FINAL_RESULT_WORDS)


def _word(
    status: PublicStatus, upstream_word: str | None, words: Mapping[PublicStatus, FinalWord]
) -> str:
    final = words.get(status)
    if final is None:
        return status
    if upstream_word and PHASES_BY_STATUS.get(upstream_word) in final.phases:
        return upstream_word
    return final.documented
