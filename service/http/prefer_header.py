"""What a caller prefers (RFC 7240). Pure. A preference that is not understood is no error."""

import re
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Final

PREFER: Final = "prefer"
APPLIED: Final = "preference-applied"
_WAIT: Final = "wait"
_MOST_DIGITS: Final = 9
# A comma inside quotes separates nothing; quotes that never end take all that follows.
_PARTS: Final = re.compile(r'(?:[^,"]|"(?:\\.|[^"\\])*"?)+')


def wait_preference(headers: Sequence[str], longest: timedelta) -> timedelta | None:
    """How long a caller would wait, by `Prefer: wait=N`; `longest` at most. None: not at all.

    Of several, the first counts (RFC 7240, section 2).
    """
    value = next((value for name, value in _preferences(headers) if name == _WAIT), "")
    if not (value.isascii() and value.isdigit() and len(value) <= _MOST_DIGITS):
        return None
    return min(timedelta(seconds=int(value)), longest) or None


def applied(wait: timedelta) -> dict[str, str]:
    """The header that says which wait was granted."""
    return {APPLIED: f"{_WAIT}={int(wait.total_seconds())}"}


def _preferences(headers: Sequence[str]) -> Iterator[tuple[str, str]]:
    for part in _PARTS.findall(",".join(headers)):
        name, _, value = part.partition(";")[0].partition("=")
        yield name.strip().lower(), value.strip().strip('"')
