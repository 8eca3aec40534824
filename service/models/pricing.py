"""Estimates the cost of a request from RunComfy's price list. RunComfy's own bill counts."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import ROUND_CEILING, Decimal
from enum import StrEnum
from typing import Final

from core.deduplication.fingerprint import Defaults
from core.money import MicroUsd
from service.models.quantities import Quantity, QuantityKind, largest_units

_MAX_COST: Final = 10**15
"""Micro-dollars. The budgets are summed in doubles, which are exact up to nine times that."""


class PriceUnit(StrEnum):
    """What is charged for; the values of RunComfy's `price_unit`."""

    SECOND = "second"
    OUTPUT = "output"


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

    def at_base_rate(self, rate: MicroUsd) -> "Price":
        """Return this price list for another base rate of RunComfy's; surcharges move with it.

        A base rate that this list has already, as base or as surcharge, changes none of them: which
        of several rates RunComfy names as the base is its choice.
        """
        known = {self.rate, *(surcharge.rate for surcharge in self.surcharges)}
        if rate in known or not self.rate:
            return replace(self, rate=rate)
        factor = Decimal(rate) / Decimal(self.rate)
        return replace(
            self,
            rate=rate,
            surcharges=tuple(
                replace(one, rate=_round_up(one.rate * factor)) for one in self.surcharges
            ),
        )


def cost_at_price(
    price: Price | None,
    value: Mapping[str, object],
    defaults: Defaults,
    quantities: tuple[Quantity, ...],
) -> MicroUsd | None:
    """Return the cost of an input at a price, rounded up; None if a quantity is not known."""
    if price is None:
        return None
    units = units_of(price.unit, value, defaults, quantities)
    return None if units is None else _round_up(units * _rate(price, value, defaults))


def units_of(
    unit: PriceUnit,
    value: Mapping[str, object],
    defaults: Defaults,
    quantities: tuple[Quantity, ...],
) -> Decimal | None:
    """Return how many units are charged for; None if a quantity is not known."""
    given = {one.field: defaults.effective(value, one.field) for one in quantities}
    units = largest_units(quantities, QuantityKind.OUTPUTS, given)
    if unit is not PriceUnit.SECOND:
        return units
    seconds = largest_units(quantities, QuantityKind.SECONDS, given)
    return None if units is None or seconds is None else units * seconds


def _rate(price: Price, value: Mapping[str, object], defaults: Defaults) -> MicroUsd:
    fitting = (
        surcharge.rate
        for surcharge in price.surcharges
        if defaults.effective(value, surcharge.field) == surcharge.value
    )
    return next(fitting, price.rate)


def _round_up(amount: Decimal) -> MicroUsd:
    return MicroUsd(min(int(amount.to_integral_value(ROUND_CEILING)), _MAX_COST))
