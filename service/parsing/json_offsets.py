"""Where the values of an object stand in a JSON text, so that a part is passed on as it came. Pure.

The text is known to be valid JSON: nothing is checked here but names that stand twice.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Final

from core.errors import MalformedRequest

Span = tuple[int, int]
"""Of a value: its first character, and the one after its last."""

_BLANK: Final = re.compile(r"[ \t\n\r]*")


def _unread(_: str) -> None:
    # Only the end of a number matters; to read an endless one would cost.
    return None


_VALUES: Final = json.JSONDecoder(parse_int=_unread, parse_float=_unread)


def fields_at(text: str, at: int = 0) -> Mapping[str, Span]:
    """The values of the object that begins at `at`, by name. Raises `MalformedRequest`."""
    found: dict[str, Span] = {}
    at = _skip(text, _skip(text, at) + 1)
    while text[at] != "}":
        name, at = _VALUES.raw_decode(text, at)
        begin = _skip(text, _skip(text, at) + 1)
        end = _end(text, begin)
        if name in found:
            raise MalformedRequest(f"The body names {name[:64]} twice.")
        found[name] = (begin, end)
        at = _next(text, end)
    return found


def elements_at(text: str, at: int) -> Iterator[Span]:
    """The elements of the array that begins at `at`, in their order."""
    at = _skip(text, at + 1)
    while text[at] != "]":
        end = _end(text, at)
        yield at, end
        at = _next(text, end)


def _end(text: str, at: int) -> int:
    try:
        return _VALUES.raw_decode(text, at)[1]
    except RecursionError:
        raise MalformedRequest("The body is nested too deeply.") from None


def _skip(text: str, at: int) -> int:
    found = _BLANK.match(text, at)
    return at if found is None else found.end()


def _next(text: str, end: int) -> int:
    """The next member, or the bracket that closes."""
    at = _skip(text, end)
    return _skip(text, at + 1) if text[at] == "," else at
