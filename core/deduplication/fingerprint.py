"""The fingerprint of an input: equal for inputs that may share a result. Knows no model.

A wrong match would give a caller the result of another input, while a missed match only costs
money. So whatever is not certainly equal gets a different fingerprint.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

import orjson
import rfc8785

from core.errors import InvalidInput

FINGERPRINT_VERSION: Final = 1
MAX_DEPTH: Final = 64
_MAX_SAFE_INTEGER: Final = 2**53 - 1
_SMALL: Final = 1e-4
_LARGE: Final = 1e15
_SCALAR_TYPES: Final = frozenset({str, bool, type(None)})
_CONTAINER_TYPES: Final = (dict, list)


@dataclass(frozen=True, slots=True)
class Defaults:
    """Defaults of absent fields: `values` of this object, `nested` by field, `items` of a list."""

    values: Mapping[str, object] = field(default_factory=dict)
    nested: Mapping[str, "Defaults"] = field(default_factory=dict)
    items: "Defaults | None" = None

    def __bool__(self) -> bool:
        """Return whether there is any default, at any depth."""
        return bool(self.values or self.nested or self.items)

    def effective(self, value: Mapping[str, object], name: str) -> object:
        """Return the field `name` of `value`; its default, if any, if it is absent or null."""
        given = value.get(name)
        return self.values.get(name) if given is None else given


NO_DEFAULTS: Final = Defaults()


def fill_defaults(value: object, defaults: Defaults) -> object:
    """Return a copy of `value` in which absent fields have their defaults.

    A default that is an object gets its own missing fields; an absent object without a default
    stays absent.
    """
    if isinstance(value, dict) and (defaults.values or defaults.nested):
        whole = {**defaults.values, **value}
        for name, inner in defaults.nested.items():
            if name in whole:
                whole[name] = fill_defaults(whole[name], inner)
        return whole
    if isinstance(value, list) and defaults.items:
        return [fill_defaults(item, defaults.items) for item in value]
    return value


def fingerprint(model_id: str, value: dict[str, object], defaults: Defaults) -> str:
    """Return `1:` and the SHA-256, in hex, of the canonical JSON (RFC 8785) of model and input.

    `value` is parsed JSON, not nested deeper than `MAX_DEPTH` (see `is_nested_deeper`). Numbers of
    equal value are equal (10 and 10.0), and so are an absent field and its default.

    Raises `InvalidInput` for a value that JSON cannot represent.
    """
    whole = fill_defaults(value, defaults)
    document: dict[str, object] = {"v": FINGERPRINT_VERSION, "model": model_id, "input": whole}
    try:
        if _is_simple(whole):
            # The same bytes as RFC 8785, in a tenth of the time.
            canonical = orjson.dumps(document, option=orjson.OPT_SORT_KEYS)
        else:
            if _has_large_numbers(whole):
                document = {"v": FINGERPRINT_VERSION, "model": model_id, "exact": _exact(whole)}
            canonical = rfc8785.dumps(document)  # type: ignore[arg-type]  # its private JSON type
    except (orjson.JSONEncodeError, rfc8785.CanonicalizationError) as error:
        raise InvalidInput("The input holds a value that JSON cannot carry.") from error
    return f"{FINGERPRINT_VERSION}:{sha256(canonical).hexdigest()}"


def is_nested_deeper(value: object, max_depth: int) -> bool:
    """Return whether lists and objects inside `value` are nested deeper than `max_depth`."""
    # Level by level: recursion on hostile input would exhaust the stack.
    layer = [value] if isinstance(value, _CONTAINER_TYPES) else []
    for _ in range(max_depth + 1):
        layer = [
            item
            for container in layer
            for item in (container.values() if isinstance(container, dict) else container)
            if isinstance(item, _CONTAINER_TYPES)
        ]
        if not layer:
            return False
    return True


def _children(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _is_simple(value: object) -> bool:
    """Return whether any JSON writer that sorts keys writes `value` as RFC 8785 requires.

    Writers differ in whole numbers that are floats, in very large and very small numbers, and in
    the order of keys beyond ASCII.
    """
    # One loop and exact types: this runs for every submit.
    left = [value]
    while left:
        item = left.pop()
        kind = type(item)
        if kind in _SCALAR_TYPES:
            continue
        if isinstance(item, dict):
            if not "".join(item).isascii():
                return False
            left.extend(item.values())
        elif isinstance(item, list):
            left.extend(item)
        elif not _is_simple_number(item):
            return False
    return True


def _is_simple_number(value: object) -> bool:
    if isinstance(value, int):
        return -_MAX_SAFE_INTEGER <= value <= _MAX_SAFE_INTEGER
    return isinstance(value, float) and _SMALL <= abs(value) <= _LARGE and value % 1 != 0


def _has_large_numbers(value: object) -> bool:
    # RFC 8785 has doubles only: beyond 2^53 it would make two seeds equal, or reject them.
    if isinstance(value, int | float):
        return abs(value) > _MAX_SAFE_INTEGER
    return any(map(_has_large_numbers, _children(value)))


def _exact(value: object) -> object:
    """Return `value` with numbers as `n…` and strings as `s…`, so that no digit is lost."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, str):
        return f"s{value}"
    if isinstance(value, int | float):
        return f"n{_digits(value)}"
    if isinstance(value, dict):
        return {name: _exact(item) for name, item in value.items()}
    return [_exact(item) for item in value] if isinstance(value, list) else value


def _digits(number: float) -> str:
    return repr(number) if number % 1 else str(int(number))
