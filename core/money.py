"""Money in integer micro-dollars, so that sums are exact. Knows no prices."""

from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from typing import Final, NewType

MicroUsd = NewType("MicroUsd", int)
_MICRO: Final = 1_000_000
_MAX_USD: Final = 1_000_000_000
"""No price is larger. Without a limit, an amount such as `1e999999999` exhausts the memory."""


def from_usd(amount: object) -> MicroUsd | None:
    """Return the micro-dollars of a USD amount: a JSON number, or digits in a string; else None.

    Negative, infinite and boolean values are not amounts, nor is one above 10^9 USD.
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
    """Return the amount in USD, with at most six decimals, as callers read it."""
    return amount / _MICRO


def usd_or_none(amount: MicroUsd | None) -> float | None:
    """Return the amount in USD, or None if it is unknown or unlimited."""
    return None if amount is None else to_usd(amount)
