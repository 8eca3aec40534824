"""Parses the `Prefer` header (RFC 7240): unknown preferences are ignored, as it requires."""

import re
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Final

PREFER: Final = "prefer"
PREFERENCE_APPLIED: Final = "preference-applied"
_WAIT: Final = "wait"
_MAX_DIGITS: Final = 9
# A comma inside quotes does not separate; an unclosed quote runs to the end.
_PARTS: Final = re.compile(r'(?:[^,"]|"(?:\\.|[^"\\])*"?)+')


def parse_wait_preference(headers: Sequence[str], max_wait: timedelta) -> timedelta | None:
    """Return the wait of `Prefer: wait=N`, at most `max_wait`; None: the caller does not wait.

    The first of several preferences counts (RFC 7240, section 2).
    """
    if not headers:
        return None
    value = next((value for name, value in _parse_preferences(headers) if name == _WAIT), "")
    if not (value.isascii() and value.isdigit() and len(value) <= _MAX_DIGITS):
        return None
    return min(timedelta(seconds=int(value)), max_wait) or None


def preference_applied_header(wait: timedelta) -> dict[str, str]:
    """Return the header with the wait that was granted."""
    return {PREFERENCE_APPLIED: f"{_WAIT}={int(wait.total_seconds())}"}


def _parse_preferences(headers: Sequence[str]) -> Iterator[tuple[str, str]]:
    for part in _PARTS.findall(",".join(headers)):
        name, _, value = part.partition(";")[0].partition("=")
        yield name.strip().lower(), value.strip().strip('"')
