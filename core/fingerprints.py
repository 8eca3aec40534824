"""When two inputs are the same request. Knows canonical JSON and defaults; knows no model.

Two inputs with one fingerprint may share a result, so a doubt always makes two fingerprints.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

import rfc8785

from core.errors import InvalidInput

VERSION: Final = 1
MAX_DEPTH: Final = 64
_SAFE: Final = 2**53 - 1


@dataclass(frozen=True, slots=True)
class Defaults:
    """What absent fields mean: `values` of this object, `nested` by field, `items` of a list."""

    values: Mapping[str, object] = field(default_factory=dict)
    nested: Mapping[str, "Defaults"] = field(default_factory=dict)
    items: "Defaults | None" = None

    def __bool__(self) -> bool:
        """Whether anything below here has a default."""
        return bool(self.values or self.nested or self.items)


NO_DEFAULTS: Final = Defaults()


def filled(value: object, defaults: Defaults) -> object:
    """`value` with every absent field that has a default filled in; `value` itself stays as it is.

    A default that is an object gets its own missing fields; an absent object without a default
    stays absent.
    """
    if isinstance(value, Mapping) and (defaults.values or defaults.nested):
        whole = {**defaults.values, **value}
        for name, inner in defaults.nested.items():
            if name in whole:
                whole[name] = filled(whole[name], inner)
        return whole
    if isinstance(value, list) and defaults.items:
        return [filled(item, defaults.items) for item in value]
    return value


def fingerprint(model_id: str, value: Mapping[str, object], defaults: Defaults) -> str:
    """`1:` and the SHA-256 of the canonical request, in hex (RFC 8785 over model and filled input).

    Numbers of equal value are one (10 and 10.0); absent and default are one. Input nested deeper
    than `MAX_DEPTH` is `InvalidInput`.
    """
    whole = filled(value, defaults)
    document: dict[str, object] = {"v": VERSION, "model": model_id, "input": whole}
    if _needs_exact_numbers(whole, MAX_DEPTH):
        document = {"v": VERSION, "model": model_id, "exact": _exact(whole)}
    return f"{VERSION}:{sha256(_canonical(document)).hexdigest()}"


def _canonical(document: dict[str, object]) -> bytes:
    try:
        return rfc8785.dumps(document)  # type: ignore[arg-type]  # it wants its private JSON type
    except rfc8785.CanonicalizationError as error:
        raise InvalidInput("The input holds a value that JSON cannot carry.") from error


def _needs_exact_numbers(value: object, levels: int) -> bool:
    # RFC 8785 knows doubles alone: beyond 2^53 it would make two seeds one, or refuse them.
    if isinstance(value, str | bool):
        return False
    if isinstance(value, int | float):
        return abs(value) > _SAFE
    inner = _inside(value)
    if inner and not levels:
        raise InvalidInput(f"The input is nested deeper than {MAX_DEPTH} levels.")
    return any([_needs_exact_numbers(item, levels - 1) for item in inner])


def _inside(value: object) -> list[object]:
    if isinstance(value, Mapping):
        return list(value.values())
    return value if isinstance(value, list) else []


def _exact(value: object) -> object:
    """`value` with numbers as `n…` and strings as `s…`, so that no digit is lost or mistaken."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, str):
        return f"s{value}"
    if isinstance(value, int | float):
        return f"n{_digits(value)}"
    if isinstance(value, Mapping):
        return {name: _exact(item) for name, item in value.items()}
    return [_exact(item) for item in value] if isinstance(value, list) else value


def _digits(number: float) -> str:
    whole = isinstance(number, float) and number.is_integer()
    return str(int(number)) if whole else repr(number)
