"""Finds the text ranges of values in JSON, so that a part is passed on byte for byte. Pure.

The text must be valid JSON: only duplicate names are checked here.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Final

from core.errors import MalformedRequest

TextRange = tuple[int, int]
"""Start and end of a value: its first character, and the one after its last."""

_WHITESPACE: Final = re.compile(r"[ \t\n\r]*")


def _ignore_number(_: str) -> None:
    # Only the end of a number matters; converting one of a million digits would take seconds.
    return None


_DECODER: Final = json.JSONDecoder(parse_int=_ignore_number, parse_float=_ignore_number)


def locate_fields(text: str, start: int = 0) -> Mapping[str, TextRange]:
    """Return the ranges of an object's values by name. Raises `MalformedRequest` for duplicates."""
    found: dict[str, TextRange] = {}
    start = _skip_whitespace(text, _skip_whitespace(text, start) + 1)
    while text[start] != "}":
        name, start = _DECODER.raw_decode(text, start)
        begin = _skip_whitespace(text, _skip_whitespace(text, start) + 1)
        end = _value_end(text, begin)
        if name in found:
            raise MalformedRequest(f"The body names {name[:64]} twice.")
        found[name] = (begin, end)
        start = _next_member(text, end)
    return found


def locate_elements(text: str, start: int) -> Iterator[TextRange]:
    """Yield the ranges of the elements of the array at `start`, in order."""
    start = _skip_whitespace(text, start + 1)
    while text[start] != "]":
        end = _value_end(text, start)
        yield start, end
        start = _next_member(text, end)


def _value_end(text: str, start: int) -> int:
    try:
        return _DECODER.raw_decode(text, start)[1]
    except RecursionError:
        raise MalformedRequest("The body is nested too deeply.") from None


def _skip_whitespace(text: str, start: int) -> int:
    found = _WHITESPACE.match(text, start)
    return start if found is None else found.end()


def _next_member(text: str, end: int) -> int:
    """Return the position of the next member, or of the closing bracket."""
    at = _skip_whitespace(text, end)
    return _skip_whitespace(text, at + 1) if text[at] == "," else at
