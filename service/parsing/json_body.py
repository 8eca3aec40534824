"""Parses JSON bodies strictly: one object, no duplicate fields."""

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import orjson

from core.errors import MalformedRequest


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """Maximum size of a body, and the time within which it must arrive."""

    max_bytes: int
    timeout: timedelta


_TOO_DEEP: Final = "depth limit exceeded"
"""orjson's message for JSON that is nested deeper than 1024 levels."""


MAX_VALUES: Final = 250_000
"""Most values of one input, whose bytes are those of a few large texts.

A value takes up to a hundred times its bytes of memory, and other callers wait while they are made.
"""
MAX_BATCH_VALUES: Final = 1_000_000
_SEPARATORS: Final = (b",", b"[", b"{")
"""Each value but the first follows one of these."""


def parse_object(body: bytes, max_values: int = MAX_VALUES) -> dict[str, Any]:
    """Return the JSON object in `body`. Raises `MalformedRequest` with the error's position.

    Separators count as values, also those in texts: only so nothing need be parsed to refuse it.
    """
    if len(body) > max_values and sum(map(body.count, _SEPARATORS)) > max_values:
        raise MalformedRequest(f"The body has more than {max_values:,} values.")
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if error.msg == _TOO_DEEP:
            raise MalformedRequest("The body is nested too deeply.") from None
        where = f" (line {error.lineno}, column {error.colno})" if body else ""
        raise MalformedRequest(f"The body is not valid JSON in UTF-8{where}.") from None
    if not isinstance(value, dict):
        raise MalformedRequest("The body must be a JSON object: the model's input.")
    return value


def reject_duplicate_keys(body: bytes) -> None:
    """Raise `MalformedRequest` if an object has a field twice.

    The gateway checks the last one; RunComfy might read the first, and charge for it. `body` must
    be valid JSON of bounded depth: this parser recurses.
    """
    try:
        _DUPLICATE_KEY_DECODER.decode(body.decode())
    except RecursionError:  # it nests less deeply than orjson
        raise MalformedRequest("The body is nested too deeply.") from None


def _reject_duplicates(pairs: list[tuple[str, Any]]) -> None:
    if len({name for name, _ in pairs}) != len(pairs):
        raise MalformedRequest("The body names a field twice.")


def _ignore_number(_: str) -> None:
    # The value is not used, and converting a number of a million digits would take seconds.
    return None


_DUPLICATE_KEY_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_reject_duplicates, parse_int=_ignore_number, parse_float=_ignore_number
)
