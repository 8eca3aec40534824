"""What a caller prefers (RFC 7240). Pure. A preference that is not understood is no error."""

import re
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Final

PREFER: Final = "prefer"
PREFERENCE_APPLIED: Final = "preference-applied"
_WAIT: Final = "wait"
_MAX_DIGITS: Final = 9
# A comma inside quotes separates nothing; quotes that never end take all that follows.
_PARTS: Final = re.compile(r'(?:[^,"]|"(?:\\.|[^"\\])*"?)+')


def parse_wait_preference(headers: Sequence[str], max_wait: timedelta) -> timedelta | None:
    """How long a caller would wait, by `Prefer: wait=N`; `longest` at most. None: not at all.

    Of several, the first counts (RFC 7240, section 2).
    """
    if not headers:
        return None
    value = next((value for name, value in _parse_preferences(headers) if name == _WAIT), "")
    if not (value.isascii() and value.isdigit() and len(value) <= _MAX_DIGITS):
        return None
    return min(timedelta(seconds=int(value)), max_wait) or None


def preference_applied_header(wait: timedelta) -> dict[str, str]:
    """The header that says which wait was granted."""
    return {PREFERENCE_APPLIED: f"{_WAIT}={int(wait.total_seconds())}"}


def _parse_preferences(headers: Sequence[str]) -> Iterator[tuple[str, str]]:
    for part in _PARTS.findall(",".join(headers)):
        name, _, value = part.partition(";")[0].partition("=")
        yield name.strip().lower(), value.strip().strip('"')
