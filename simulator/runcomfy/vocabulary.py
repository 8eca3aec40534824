"""The status words of the simulated RunComfy's calls: the documented ones, or other accepted ones.

RunComfy documents `completed` for the end of every run on its status call, and `succeeded` or
`failed` on its result call. Its own clients accept the alternative words too.
"""

from collections.abc import Mapping
from enum import StrEnum

from simulator.runcomfy.job import Status


class Vocabulary(StrEnum):
    """Which words all calls use."""

    DOCUMENTED = "documented"
    ALTERNATIVE = "alternative"


_DOCUMENTED = {
    Status.IN_QUEUE: "in_queue",
    Status.IN_PROGRESS: "in_progress",
    Status.CANCELLED: "cancelled",
}
_ALTERNATIVE = {
    Status.IN_QUEUE: "pending",
    Status.IN_PROGRESS: "processing",
    Status.FAILED: "failed",
    Status.CANCELLED: "canceled",
}
STATUS_WORDS: Mapping[Vocabulary, Mapping[Status, str]] = {
    Vocabulary.DOCUMENTED: {
        **_DOCUMENTED,
        Status.COMPLETED: "completed",
        Status.FAILED: "completed",
    },
    Vocabulary.ALTERNATIVE: {**_ALTERNATIVE, Status.COMPLETED: "succeeded"},
}
"""The words of the status call and the cancel call."""
RESULT_WORDS: Mapping[Vocabulary, Mapping[Status, str]] = {
    Vocabulary.DOCUMENTED: {**_DOCUMENTED, Status.COMPLETED: "succeeded", Status.FAILED: "failed"},
    Vocabulary.ALTERNATIVE: {**_ALTERNATIVE, Status.COMPLETED: "completed"},
}
"""The words of the result call."""
