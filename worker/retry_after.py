"""Parses the `Retry-After` header. Pure; callers decide how far to honour it."""

import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

_SECONDS: Final = re.compile(r"[0-9]+")
_MAX_DIGITS: Final = 9
"""Longer values would overflow a timedelta; 30 years are as good."""


def parse_retry_after(value: str | None, now: datetime) -> timedelta | None:
    """Return the delay of a `Retry-After` header (RFC 9110, 10.2.3: seconds or a date).

    None if it is absent or invalid. A date in the past is a delay of 0.
    """
    if value is None:
        return None
    text = value.strip()
    if _SECONDS.fullmatch(text):
        return timedelta(seconds=int(text[:_MAX_DIGITS]))
    try:
        instant = parsedate_to_datetime(text)
    except (ValueError, OverflowError, IndexError, TypeError):
        return None
    aware = instant if instant.tzinfo else instant.replace(tzinfo=UTC)
    return max(aware - now, timedelta(0))
