"""Estimates the cost of a request from RunComfy's price list. RunComfy's own bill counts."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from enum import StrEnum
from typing import Final

from core.deduplication.fingerprint import Defaults
from core.money import MicroUsd


class PriceUnit(StrEnum):
    """What is charged for; the values of RunComfy's `price_unit`."""

    SECOND = "second"
    OUTPUT = "output"


# The fields with the number of units of a request; the first that is present counts.
QUANTITY_FIELDS: Final[Mapping[PriceUnit, tuple[str, ...]]] = {
    PriceUnit.SECOND: ("duration",),
    PriceUnit.OUTPUT: ("num_outputs", "num_images", "n"),
}
_DEFAULT_QUANTITIES: Final[Mapping[PriceUnit, Decimal | None]] = {
    PriceUnit.SECOND: None,
    PriceUnit.OUTPUT: Decimal(1),
}
# Larger quantities are no quantities: their price would overflow the budgets' integers.
_MAX_UNITS: Final = 1_000_000
_QUANTITY_TEXT: Final = re.compile(r"([0-9]{1,7}(?:\.[0-9]{1,6})?)s?")


@dataclass(frozen=True, slots=True)
class Surcharge:
    """A rate for requests in which `field`, or its default, equals `value`."""

    field: str
    value: object
    rate: MicroUsd


@dataclass(frozen=True, slots=True)
class Price:
    """Micro-dollars per unit; the first surcharge that matches replaces the rate."""

    unit: PriceUnit
    rate: MicroUsd
    surcharges: tuple[Surcharge, ...] = ()


def estimate_price(
    price: Price | None, value: Mapping[str, object], defaults: Defaults
) -> MicroUsd | None:
    """Return the estimate, rounded up; None if the price or the quantity is not known."""
    if price is None:
        return None
    units = _quantity(price.unit, value, defaults)
    if units is None:
        return None
    cost = units * _rate(price, value, defaults)
    return MicroUsd(int(cost.to_integral_value(ROUND_CEILING)))


def _rate(price: Price, value: Mapping[str, object], defaults: Defaults) -> MicroUsd:
    fitting = (
        surcharge.rate
        for surcharge in price.surcharges
        if defaults.effective(value, surcharge.field) == surcharge.value
    )
    return next(fitting, price.rate)


def _quantity(unit: PriceUnit, value: Mapping[str, object], defaults: Defaults) -> Decimal | None:
    for name in QUANTITY_FIELDS[unit]:
        given = defaults.effective(value, name)
        if given is not None:
            return _parse_units(given)
    return _DEFAULT_QUANTITIES[unit]


def _parse_units(quantity: object) -> Decimal | None:
    """Return a positive number of units, also of strings such as `"5"` and `"8s"`, else None."""
    if isinstance(quantity, str):
        figure = _QUANTITY_TEXT.fullmatch(quantity)
        units = Decimal(figure[1]) if figure else None
    elif isinstance(quantity, int | float) and not isinstance(quantity, bool):
        units = Decimal(str(quantity))
    else:
        units = None
    return units if units is not None and 0 < units <= _MAX_UNITS else None
