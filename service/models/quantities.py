"""The fields of an input that multiply its price: how many outputs, how many seconds.

Which fields there are is read from the model's own schema alone. What a field holds is judged
before the input is priced, so that no value of it makes a request cheaper than it is.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from enum import StrEnum
from typing import Final

from core.errors import FieldError


class QuantityKind(StrEnum):
    """What a field counts."""

    OUTPUTS = "outputs"
    SECONDS = "seconds"


MAX_UNITS: Final = 1_000_000
"""Larger quantities are no quantities: their price would overflow the budgets' integers."""
_THINGS: Final = "(?:image|output|video|audio|clip|song|sample|result|generation|variation)s?"
# Names that RunComfy's models use, and those of similar APIs.
_NAMES: Final[Mapping[QuantityKind, re.Pattern[str]]] = {
    QuantityKind.OUTPUTS: re.compile(
        f"n|batch_?(?:size|count)|(?:n|num|number_of|no_of|max|total)_{_THINGS}"
        f"|(?:{_THINGS}_)?(?:count|quantity)",
        re.IGNORECASE,
    ),
    QuantityKind.SECONDS: re.compile(
        "(?:video_|audio_|total_|output_)?(?:duration|length)(?:_in)?(?:_s|_sec|_secs|_seconds)?"
        "|(?:num_)?seconds",
        re.IGNORECASE,
    ),
}
_UNITS_TEXT: Final = re.compile(r"([0-9]{1,7}(?:\.[0-9]{1,6})?)s?")


@dataclass(frozen=True, slots=True)
class Quantity:
    """One such field. `listed` are values that the schema names: its `enum` and its default.

    `minimum` and `largest` are the schema's bounds; None: it has none.
    """

    field: str
    kind: QuantityKind
    listed: tuple[object, ...] = ()
    minimum: Decimal | None = None
    largest: Decimal | None = None

    def error(self, given: object) -> FieldError | None:
        """Return why `given` is no quantity, or None. A value that the schema lists is one."""
        if given is None or self.read(given) is not None or _is_listed(given, self.listed):
            return None
        number = _number(given)
        # A schema with such a minimum has a use for it: -1 seconds is RunComfy's choice.
        if self.minimum is not None and number is not None and self.minimum <= number < 0:
            return None
        what = "number of seconds" if self.kind is QuantityKind.SECONDS else "whole number"
        return FieldError(f"/{self.field}", f"must be a {what} from 1 to {MAX_UNITS:,}")

    def read(self, given: object) -> Decimal | None:
        """Return the whole units that `given` names, at least 1; None if it names none."""
        units = _number(given)
        if units is None or not 0 < units <= MAX_UNITS:
            return None
        whole = units.to_integral_value(ROUND_CEILING)
        # A part of a second is billed as a whole one at most; there is no part of an output.
        return whole if whole == units or self.kind is QuantityKind.SECONDS else None


def quantities_of_schema(schema: Mapping[str, object]) -> tuple[Quantity, ...]:
    """Return the quantities of a normalised input schema."""
    fields = schema.get("properties")
    return tuple(
        _describe(name, kind, inner)
        for name, inner in (fields.items() if isinstance(fields, Mapping) else ())
        if isinstance(inner, Mapping) and (kind := _kind_of(name))
    )


def quantities_of_input(value: Mapping[str, object]) -> tuple[Quantity, ...]:
    """Return the quantities of an input whose model has no schema, by the names of its fields."""
    return tuple(Quantity(name, kind) for name in value if (kind := _kind_of(name)))


def largest_units(
    quantities: Iterable[Quantity], kind: QuantityKind, given: Mapping[str, object]
) -> Decimal | None:
    """Return the largest reading of the quantities of `kind`; None if one cannot be read.

    `given` are the input's values, defaults included. A field without a value, or with one that
    leaves the choice to RunComfy (`auto`), may become as much as the schema allows.
    """
    readings: list[Decimal] = []
    for quantity in quantities:
        value = given.get(quantity.field)
        if quantity.kind is not kind or (value is None and kind is QuantityKind.OUTPUTS):
            continue
        units = quantity.read(value) or quantity.largest
        if units is None and value is not None:
            return None
        readings += [] if units is None else [units]
    return max(readings, default=Decimal(1) if kind is QuantityKind.OUTPUTS else None)


def _kind_of(name: str) -> QuantityKind | None:
    return next((kind for kind, names in _NAMES.items() if names.fullmatch(name)), None)


def _describe(name: str, kind: QuantityKind, schema: Mapping[str, object]) -> Quantity:
    enum = schema.get("enum")
    options = tuple(enum) if isinstance(enum, list) else ()
    default = (schema["default"],) if "default" in schema else ()
    bounds = [_number(value) for value in (*options, schema.get("maximum"))]
    return Quantity(
        field=name,
        kind=kind,
        listed=(*options, *default),
        minimum=_number(schema.get("minimum")),
        largest=max((bound for bound in bounds if bound and bound > 0), default=None),
    )


def _is_listed(value: object, listed: tuple[object, ...]) -> bool:
    # In Python True equals 1; in JSON it does not.
    return any(option == value and type(option) is type(value) for option in listed)


def _number(value: object) -> Decimal | None:
    """Return a number, also of strings such as `"5"` and `"8s"`; else None."""
    if isinstance(value, str):
        found = _UNITS_TEXT.fullmatch(value)
        return Decimal(found[1]) if found else None
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return Decimal(str(value)) if -MAX_UNITS <= value <= MAX_UNITS else None
