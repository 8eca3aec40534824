"""The results of one delivery attempt, as values."""

from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar, Final

from core.observability.outcomes import DELIVERED, FailureKind


@dataclass(frozen=True, slots=True)
class Delivered:
    """The receiver answered 2xx. `excerpt` is the start of its answer, as printable text."""

    label: ClassVar[str] = DELIVERED
    """The result as one word, as `FailureKind` is for failures."""
    status: int
    duration: timedelta
    excerpt: str = ""


@dataclass(frozen=True, slots=True)
class AttemptFailed:
    """The receiver did not accept the event, or was not reached.

    `status` is None without an answer. `retry_after` is the delay that the receiver requested.
    `excerpt` is the start of its answer, or the gateway's own message if there was none; the tenant
    can read it.
    """

    kind: FailureKind
    duration: timedelta
    status: int | None = None
    retry_after: timedelta | None = None
    excerpt: str = ""

    @property
    def label(self) -> str:
        """The result as one word."""
        return self.kind.value


AttemptResult = Delivered | AttemptFailed

# These take precedence over `_BY_CLASS`. Source: the Standard Webhooks specification: 410 requests
# no further events, 429, 502 and 504 a lower rate; so does 503 by RFC 9110.
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
    """Return why an answer with this status is a failure; None for 2xx, the only success."""
    hundreds = status // 100
    return (
        None
        if hundreds == 2  # noqa: PLR2004 - the class of success has no better name
        else _BY_STATUS.get(status) or _BY_CLASS.get(hundreds, FailureKind.INVALID_RESPONSE)
    )


def printable_text(data: bytes, limit: int) -> str:
    """Return the first `limit` bytes as text without control characters."""
    text = data[:limit].decode(errors="replace")
    return "".join(char if char.isprintable() else " " for char in text).strip()
