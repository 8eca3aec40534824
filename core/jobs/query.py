"""A tenant's jobs as a list, newest first: what is asked for, what fits, where a page ends. Pure.

A job's place among its tenant's is the millisecond in which it was made; what a double has left
below that tells models apart, so that others are passed over unread. Among equals the id decides.
A cursor names the last job that was looked at: what is admitted, ended or deleted meanwhile neither
repeats nor hides any job that stands behind it.
"""

import base64
import binascii
import hashlib
import re
import zlib
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Self

from core.clock import to_ms
from core.jobs.job import Job, PublicStatus

MAX_JOBS_PER_PAGE: Final = 200
DEFAULT_JOBS_PER_PAGE: Final = 50
SCORE_STEPS_PER_MS: Final = 4096
"""Of a millisecond: 12 bits, beside 41 for the instant, of a double's 53."""
_CURSOR: Final = re.compile(r"([0-9]{1,16})\.([A-Za-z0-9_-]{1,128})")
_NUMBER_BYTES: Final = 6
"""48 bits: a score of Redis' holds them exactly."""


def score_fraction_of(model_id: str) -> float:
    """What a model adds to its jobs' places. Two may share one: the record has the last word."""
    return zlib.crc32(model_id.encode()) % SCORE_STEPS_PER_MS / SCORE_STEPS_PER_MS


def score_of(job: Job) -> float:
    """Where a job stands among its tenant's: a score of Redis'."""
    return to_ms(job.created_at) + score_fraction_of(job.model_id)


def reference_score(reference: str) -> int:
    """What a reference is indexed by. Two may share one: the record has the last word."""
    return int.from_bytes(hashlib.sha256(reference.encode()).digest()[:_NUMBER_BYTES], "big")


@dataclass(frozen=True, slots=True)
class Cursor:
    """The place behind a job."""

    score: float
    job_id: str

    @property
    def token(self) -> str:
        """The form in which callers hold it; they are not to read it."""
        plain = f"{int(self.score * SCORE_STEPS_PER_MS)}.{self.job_id}".encode()
        return base64.urlsafe_b64encode(plain).decode().rstrip("=")

    @classmethod
    def parse(cls, text: str) -> Self:
        """What `text` was made of. Raises `ValueError` for any other text."""
        try:
            plain = base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
            found = _CURSOR.fullmatch(plain.decode("ascii"))
        except (binascii.Error, UnicodeError) as error:
            raise ValueError(text) from error
        if found is None:
            raise ValueError(text)
        return cls(int(found[1]) / SCORE_STEPS_PER_MS, found[2])


@dataclass(frozen=True, slots=True)
class JobQuery:
    """Which jobs, and how many: made from `after` on and before `before`, to the millisecond."""

    status: PublicStatus | None = None
    model_id: str | None = None
    reference: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    limit: int = DEFAULT_JOBS_PER_PAGE
    cursor: Cursor | None = None

    def matches(self, job: Job) -> bool:
        """Whether a job is asked for."""
        made = to_ms(job.created_at)
        return (
            self.status in {None, job.status}
            and self.model_id in {None, job.model_id}
            and self.reference in {None, job.reference}
            and (self.created_after is None or made >= to_ms(self.created_after))
            and (self.created_before is None or made < to_ms(self.created_before))
        )


@dataclass(frozen=True, slots=True)
class JobPage:
    """Some of the jobs. `cursor` is there while there are older ones to look through."""

    jobs: tuple[Job, ...]
    cursor: Cursor | None = None
