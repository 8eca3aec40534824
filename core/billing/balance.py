"""RunComfy's account balance and how fast it is spent."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from core.money import MicroUsd


@dataclass(frozen=True, slots=True)
class Wallet:
    """RunComfy's balance as it was last read. Below `floor` no submit is admitted."""

    balance: MicroUsd | None = None
    read_at: datetime | None = None
    floor: MicroUsd | None = None
    burn_per_hour: MicroUsd | None = None
    """How fast it fell between the last reads; None before two were made, or after a top-up."""

    @property
    def lasts(self) -> timedelta | None:
        """How long the balance lasts at the present burn."""
        if self.balance is None or not self.burn_per_hour:
            return None
        return timedelta(hours=self.balance / self.burn_per_hour)


_SMOOTHING: Final = 0.3


_LEAST_SPAN: Final = timedelta(seconds=30)


def spent_down(wallet: Wallet, balance: MicroUsd, now: datetime) -> Wallet:
    """The wallet after another reading.

    The burn is smoothed; a top-up starts it anew, and so does a clock that was put back.
    """
    if wallet.balance is None or wallet.read_at is None or balance > wallet.balance:
        return Wallet(balance, now, wallet.floor)
    span = now - wallet.read_at
    if span < timedelta():
        return Wallet(balance, now, wallet.floor)
    if span < _LEAST_SPAN:
        return wallet
    rate = (wallet.balance - balance) / (span / timedelta(hours=1))
    before = wallet.burn_per_hour
    burn = rate if before is None else _SMOOTHING * rate + (1 - _SMOOTHING) * before
    return Wallet(balance, now, wallet.floor, MicroUsd(round(burn)))
