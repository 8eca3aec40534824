"""Estimates the cost of a request from RunComfy's price list. RunComfy's own bill counts."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import ROUND_CEILING, Decimal
from enum import StrEnum
from typing import Final, NamedTuple

from core.deduplication.fingerprint import Defaults
from core.money import MicroUsd
from service.models.quantities import Quantity, QuantityKind, largest_units

_MS_PER_SECOND: Final = 1000
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


class InputEstimate(NamedTuple):
    """What an input is expected to cost, and how long its outputs will be together.

    None where that is not known. The length is that of a video or a sound.
    """

    cost: MicroUsd | None
    video_ms: int | None


NO_ESTIMATE: Final = InputEstimate(None, None)


def estimate_at_price(
    price: Price | None,
    value: Mapping[str, object],
    defaults: Defaults,
    quantities: tuple[Quantity, ...],
) -> InputEstimate:
    """Return the cost, rounded up, and the length of the outputs of a model priced by the second.

    Neither is known without a price, or if a quantity cannot be read.
    """
    if price is None:
        return NO_ESTIMATE
    units = _units(price.unit, value, defaults, quantities)
    if units is None:
        return NO_ESTIMATE
    cost = _round_up(units * _rate(price, value, defaults))
    by_second = price.unit is PriceUnit.SECOND
    return InputEstimate(cost, int(units * _MS_PER_SECOND) if by_second else None)


def _units(
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
