"""What one attempt at a callback can come to, as values. Knows no HTTP client and no schedule."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from core.observability.outcomes import DELIVERED, FailureKind


@dataclass(frozen=True, slots=True)
class Delivered:
    """The receiver took it (2xx). `excerpt` is the start of its answer, as safe text."""

    status: int
    duration: timedelta
    excerpt: str = ""

    @property
    def label(self) -> str:
        """The outcome in one word, beside the kinds of `Refused`."""
        return DELIVERED


@dataclass(frozen=True, slots=True)
class AttemptFailed:
    """The receiver did not take it, or was not reached. `status` is None without an answer.

    `retry_after` is how long the receiver asked us to wait. `excerpt` is the start of its answer,
    or our own sentence where there was none; a tenant may read it.
    """

    kind: FailureKind
    duration: timedelta
    status: int | None = None
    retry_after: timedelta | None = None
    excerpt: str = ""

    @property
    def label(self) -> str:
        """The outcome in one word."""
        return self.kind.value


AttemptResult = Delivered | AttemptFailed

# Before the classes of `_BY_CLASS`. Source: the Standard Webhooks specification, "Success, failure
# and reacting": 410 asks us to stop, 429, 502 and 504 to slow down; 503 says the same by RFC 9110.
_BY_STATUS: Final = {
    410: FailureKind.GONE,
    429: FailureKind.THROTTLED,
    502: FailureKind.THROTTLED,
    503: FailureKind.THROTTLED,
    504: FailureKind.THROTTLED,
}
_BY_CLASS: Final = {
    3: FailureKind.REDIRECT,
    4: FailureKind.CLIENT_ERROR,
    5: FailureKind.SERVER_ERROR,
}


def kind_of_status(status: int) -> FailureKind | None:
    """Why an answer of this status is a failure; None for 2xx, the only success."""
    hundreds = status // 100
    return (
        None
        if hundreds == 2  # noqa: PLR2004 - the class of success has no better name
        else _BY_STATUS.get(status) or _BY_CLASS.get(hundreds, FailureKind.INVALID_RESPONSE)
    )


def printable_text(data: bytes, limit: int) -> str:
    """The first `limit` bytes as text without control characters, for people to read."""
    text = data[:limit].decode(errors="replace")
    return "".join(char if char.isprintable() else " " for char in text).strip()
