"""A query of a tenant's jobs, newest first: filters, page size and cursor. Pure.

Jobs are sorted by the millisecond of their admission. The bits of the score that a double has left
below a millisecond distinguish models, so that jobs of other models are skipped without a read.
Jobs with equal scores are sorted by id. A cursor names the last job that was read: jobs that are
admitted, end or are deleted between two pages neither repeat nor hide a later one.
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
from core.labels import Labels

MAX_JOBS_PER_PAGE: Final = 200
DEFAULT_JOBS_PER_PAGE: Final = 50
SCORE_STEPS_PER_MS: Final = 4096
"""Parts of a millisecond: 12 bits of a double's 53; the instant takes 41."""
_CURSOR: Final = re.compile(r"([0-9]{1,16})\.([A-Za-z0-9_-]{1,128})")
_NUMBER_BYTES: Final = 6
"""48 bits: a Redis score, a double, holds them exactly."""


def score_fraction_of(model_id: str) -> float:
    """Return the part of a score that stands for a model, below 1.

    Two models may share it, so the record itself is compared too.
    """
    return zlib.crc32(model_id.encode()) % SCORE_STEPS_PER_MS / SCORE_STEPS_PER_MS


def score_of(job: Job) -> float:
    """Return the Redis score of a job in its tenant's index."""
    return to_ms(job.created_at) + score_fraction_of(job.model_id)


def reference_score(reference: str) -> int:
    """Return the index score of a caller's reference.

    Two references may share it, so the record itself is compared too.
    """
    return int.from_bytes(hashlib.sha256(reference.encode()).digest()[:_NUMBER_BYTES], "big")


@dataclass(frozen=True, slots=True)
class Cursor:
    """The position after a job."""

    score: float
    job_id: str

    @property
    def token(self) -> str:
        """The opaque text that callers send back."""
        plain = f"{int(self.score * SCORE_STEPS_PER_MS)}.{self.job_id}".encode()
        return base64.urlsafe_b64encode(plain).decode().rstrip("=")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the cursor of a token. Raises `ValueError` for any other text."""
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
    """Filters and page size. `created_after` is inclusive, `created_before` exclusive, in ms."""

    status: PublicStatus | None = None
    model_id: str | None = None
    reference: str | None = None
    labels: Labels = ()
    """All of them; a job may have others."""
    created_after: datetime | None = None
    created_before: datetime | None = None
    limit: int = DEFAULT_JOBS_PER_PAGE
    cursor: Cursor | None = None

    def matches(self, job: Job) -> bool:
        """Return whether `job` passes the filters."""
        made = to_ms(job.created_at)
        return (
            self.status in {None, job.status}
            and self.model_id in {None, job.model_id}
            and self.reference in {None, job.reference}
            and set(self.labels).issubset(job.labels)
            and (self.created_after is None or made >= to_ms(self.created_after))
            and (self.created_before is None or made < to_ms(self.created_before))
        )
