"""Parses JSON bodies strictly: one object, no duplicate fields."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import accumulate, chain
from typing import Any, Final

import orjson

from core.errors import MalformedRequest
from core.jobs.json_strings import string_spans


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """Maximum size of a body, and the time within which it must arrive."""

    max_bytes: int
    timeout: timedelta


_CONTAINERS: Final = (dict, list)
_NESTED_TOO_DEEPLY: Final = "The body is nested too deeply."
_MAX_LEVELS: Final = 500
"""Of objects and lists in each other: what a parser that recurses can read."""
_TOO_DEEP: Final = "depth limit exceeded"
"""orjson's message for JSON that is nested deeper than 1024 levels."""


@dataclass(frozen=True, slots=True)
class ValueLimits:
    """Most values of a body, and how many of them may be fields, which cost the validator more.

    A value takes up to a hundred times its bytes of memory, and others wait while they are made.
    """

    values: int
    fields: int


INPUT_VALUES: Final = ValueLimits(25_000, 5_000)
"""Of one input: more bytes are those of a few large texts. The parser and the validator hold
Python's lock for all of them at a time: 2 ms, in which no other call is served."""
BATCH_VALUES: Final = ValueLimits(60_000, 30_000)
"""60 values for each of 1,000 items. A million empty lists stopped all other calls for 1.7 s."""
_SEPARATORS: Final = (b",", b"[", b"{")
"""Each value but the first follows one of these."""
_COLON: Final = b":"
_COLONS: Final = (b'":', b" :", b"\n:", b"\t:", b"\r:")
"""Each field has one of these."""
_WINDOW: Final = 16 * 1024
"""Counted at a time: a count of a large body takes 0.2 s, in which no other thread runs."""


def parse_object(body: bytes, limits: ValueLimits = INPUT_VALUES) -> dict[str, Any]:
    """Return the JSON object in `body`. Raises `MalformedRequest` with the error's position."""
    check_number_of_values(body, limits)
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if error.msg == _TOO_DEEP:
            raise MalformedRequest(_NESTED_TOO_DEEPLY) from None
        where = f" (line {error.lineno}, column {error.colno})" if body else ""
        raise MalformedRequest(f"The body is not valid JSON in UTF-8{where}.") from None
    if not isinstance(value, dict):
        raise MalformedRequest("The body must be a JSON object: the model's input.")
    return value


def check_number_of_values(body: bytes, limits: ValueLimits = INPUT_VALUES) -> None:
    """Raise `MalformedRequest` for JSON with more values or fields than `limits`.

    Nothing is parsed for it. What texts contain is left out if it matters, which takes longer.
    """
    if len(body) <= limits.fields:
        return
    has_many = _exceed(_count_separators(body), limits.values)
    if not has_many and not _exceed(_count_colons(body), limits.fields):
        return
    values = fields = 0
    for number, (start, end) in enumerate(_gaps_between_texts(body)):
        if number > limits.values + limits.fields:
            return  # more texts than marks between them: the parser ends at the first two
        for first in range(start, end, _WINDOW):
            window = first, min(first + _WINDOW, end)
            values += sum(body.count(mark, *window) for mark in _SEPARATORS)
            fields += body.count(_COLON, *window)
            if values > limits.values:
                raise MalformedRequest(f"The body has more than {limits.values:,} values.")
            if fields > limits.fields:
                raise MalformedRequest(f"The body has more than {limits.fields:,} fields.")


def _gaps_between_texts(body: bytes) -> Iterator[tuple[int, int]]:
    """Yield what is before each text, and after the last one."""
    at = 0
    for start, end in chain(string_spans(body), [(len(body), len(body))]):
        yield at, start
        at = end


def _exceed(counts: Iterable[int], most: int) -> bool:
    return any(total > most for total in accumulate(counts))


def _count_separators(body: bytes) -> Iterator[int]:
    """Yield the number of separators in each window."""
    for start in range(0, len(body), _WINDOW):
        yield sum(body.count(mark, start, start + _WINDOW) for mark in _SEPARATORS)


def _count_colons(body: bytes) -> Iterator[int]:
    """Yield the number of colons in each window that can be a field's: at most one for a field."""
    for start in range(0, len(body), _WINDOW):
        end = start + _WINDOW + 1  # a pair that begins in the window
        if body.count(_COLON, start, end):  # a tenth of the time that the pairs take
            yield sum(body.count(mark, start, end) for mark in _COLONS)


def reject_duplicate_keys(body: bytes, value: dict[str, Any]) -> None:
    """Raise `MalformedRequest` if an object in `body`, parsed to `value`, has a field twice.

    The gateway checks the last one; RunComfy might read the first, and charge for it. Raises it for
    more than `_MAX_LEVELS` levels too: the second parser recurses.
    """
    if _is_compact_text_of(value, body):
        return
    # Parsed again only if the text can have a field that the value lacks.
    if sum(_count_colons(body)) == _count_fields(value):
        return
    try:
        _DUPLICATE_KEY_DECODER.decode(body.decode())
    except RecursionError:  # it nests less deeply than orjson
        raise MalformedRequest(_NESTED_TOO_DEEPLY) from None


def _is_compact_text_of(value: dict[str, Any], body: bytes) -> bool:
    """Return whether `body` is what orjson writes for `value`, which has each field once.

    So it is for most clients whose JSON has no white space, and takes a tenth of the time of
    counting. Other numbers, escapes or white space make it False.
    """
    try:
        return orjson.dumps(value) == body
    except orjson.JSONEncodeError:  # nested more deeply than it writes, or a surrogate
        return False


def _count_fields(value: dict[str, Any]) -> int:
    """Return the number of fields in `value`. Raises `MalformedRequest` for too many levels."""
    # Level by level: recursion on hostile input would exhaust the stack.
    count = 0
    layer: list[Any] = [value]
    for _ in range(_MAX_LEVELS):
        count += sum(len(item) for item in layer if isinstance(item, dict))
        layer = [
            inner
            for item in layer
            for inner in (item.values() if isinstance(item, dict) else item)
            if isinstance(inner, _CONTAINERS)
        ]
        if not layer:
            return count
    raise MalformedRequest(_NESTED_TOO_DEEPLY)


def _reject_duplicates(pairs: list[tuple[str, Any]]) -> None:
    if len({name for name, _ in pairs}) != len(pairs):
        raise MalformedRequest("The body names a field twice.")


def _ignore_number(_: str) -> None:
    # The value is not used, and converting a number of a million digits would take seconds.
    return None


_DUPLICATE_KEY_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_reject_duplicates, parse_int=_ignore_number, parse_float=_ignore_number
)
