"""Money in integer micro-dollars, so that sums are exact. Knows no prices."""

from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from typing import Final, NewType

MicroUsd = NewType("MicroUsd", int)
_MICRO: Final = 1_000_000
_MAX_USD: Final = 1_000_000_000
"""No price is larger; beyond it a hostile figure would cost memory, and then the process."""


def from_usd(amount: object) -> MicroUsd | None:
    """Micro-dollars of a USD figure as JSON gives it (number or digits in a string), else None.

    Negative, infinite and boolean figures are no amounts, nor is one above 10^9 USD.
    """
    if isinstance(amount, bool) or not isinstance(amount, int | float | str | Decimal):
        return None
    try:
        value = Decimal(str(amount))
    except (InvalidOperation, ValueError):  # an int of thousands of digits has no text
        return None
    if not value.is_finite() or not 0 <= value <= _MAX_USD:
        return None
    return MicroUsd(int((value * _MICRO).to_integral_value(ROUND_HALF_EVEN)))


def to_usd(amount: MicroUsd) -> float:
    """The figure a caller reads: USD, at most six decimals."""
    return amount / _MICRO


def usd_or_none(amount: MicroUsd | None) -> float | None:
    """The same of an amount that may not be known, or not be limited."""
    return None if amount is None else to_usd(amount)
