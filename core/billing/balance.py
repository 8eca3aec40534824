"""RunComfy's account balance and how fast it is spent."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from core.money import MicroUsd


@dataclass(frozen=True, slots=True)
class AccountBalance:
    """RunComfy's balance as it was last read. Below `minimum` no submit is admitted."""

    balance: MicroUsd | None = None
    read_at: datetime | None = None
    minimum: MicroUsd | None = None
    burn_per_hour: MicroUsd | None = None
    """How fast it fell between the last reads; None until two were made, and after a top-up."""

    @property
    def time_remaining(self) -> timedelta | None:
        """How long the balance lasts at the present rate."""
        if self.balance is None or not self.burn_per_hour:
            return None
        return timedelta(hours=self.balance / self.burn_per_hour)


# The weight of the newest rate in the exponentially smoothed one.
_SMOOTHING: Final = 0.3
# Closer reads are ignored: over a short interval the rate would be inaccurate.
_MIN_INTERVAL: Final = timedelta(seconds=30)


def record_balance(previous: AccountBalance, balance: MicroUsd, now: datetime) -> AccountBalance:
    """Return the account balance after another read.

    The rate is smoothed exponentially. It starts again after a top-up, and after a clock that was
    set back.
    """
    if previous.balance is None or previous.read_at is None or balance > previous.balance:
        return AccountBalance(balance, now, previous.minimum)
    span = now - previous.read_at
    if span < timedelta():
        return AccountBalance(balance, now, previous.minimum)
    if span < _MIN_INTERVAL:
        return previous
    rate = (previous.balance - balance) / (span / timedelta(hours=1))
    before = previous.burn_per_hour
    burn = rate if before is None else _SMOOTHING * rate + (1 - _SMOOTHING) * before
    return AccountBalance(balance, now, previous.minimum, MicroUsd(round(burn)))
