"""Reads how long another server asks us to wait. Pure; how far it is heeded is its reader's."""

import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

_SECONDS: Final = re.compile(r"[0-9]+")
_MAX_DIGITS: Final = 9
"""More are as good as for ever, and would be too many for a span."""


def parse_retry_after(value: str | None, now: datetime) -> timedelta | None:
    """The wait of a `Retry-After` header (RFC 9110, 10.2.3: seconds or a date), none below 0.

    None where it is absent or is neither. A date in the past asks for no wait.
    """
    text = (value or "").strip()
    if _SECONDS.fullmatch(text):
        return timedelta(seconds=int(text[:_MAX_DIGITS]))
    try:
        instant = parsedate_to_datetime(text)
    except (ValueError, OverflowError, IndexError, TypeError):
        return None
    aware = instant if instant.tzinfo else instant.replace(tzinfo=UTC)
    return max(aware - now, timedelta(0))
