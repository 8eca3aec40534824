"""What a job's money has come to. Pure; the store books the differences in its tenant's windows.

At any moment, for every job and so for every window: reserved = settled + released + held, where
held is what may still turn out either way. A figure never moves between windows: a job's money
stays in the day and the month (UTC) in which it was admitted.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from core.jobs.job import BillingStatus, Job
from core.money import MicroUsd

ZERO: Final = MicroUsd(0)


class SettlementStatus(StrEnum):
    """How a job's reservation stands."""

    HELD = "held"
    """It may turn out either way: the job is open, in doubt, or its cost is being asked for."""
    FREE = "free"
    """Nothing was charged: all of it is released."""
    SPENT = "spent"
    """RunComfy said what was charged."""
    ESTIMATED = "estimated"
    """Something was or may have been charged, and nobody will say how much: the estimate counts."""


@dataclass(frozen=True, slots=True)
class Settlement:
    """A verdict, with the cost where it was told."""

    status: SettlementStatus
    cost: MicroUsd = ZERO


_HELD: Final = Settlement(SettlementStatus.HELD)


def settlement_of(job: Job) -> Settlement:
    """How the job's reservation stands."""
    if job.is_final and job.cost is not None:
        return Settlement(SettlementStatus.SPENT, job.cost)
    if not job.is_final or job.follow_up is not None:
        return _HELD
    return Settlement(
        SettlementStatus.FREE if job.billed is BillingStatus.NO else SettlementStatus.ESTIMATED
    )


@dataclass(frozen=True, slots=True)
class ReservationTotals:
    """What one job, or one window, has booked so far, in micro-dollars."""

    reserved: int = 0
    settled: int = 0
    released: int = 0

    @property
    def held(self) -> int:
        """Neither spent nor given back."""
        return self.reserved - self.settled - self.released

    @property
    def used(self) -> int:
        """What counts against a budget."""
        return self.reserved - self.released


def totals_of(reserved: int, settlement: Settlement) -> ReservationTotals:
    """The booking of a reservation that stands so; the script `ledger` does the same in the store.

    A cost above the estimate raises the reservation with it.
    """
    match settlement.status:
        case SettlementStatus.HELD:
            return ReservationTotals(reserved)
        case SettlementStatus.FREE:
            return ReservationTotals(reserved, released=reserved)
        case SettlementStatus.ESTIMATED:
            return ReservationTotals(reserved, settled=reserved)
        case SettlementStatus.SPENT:
            total = max(reserved, settlement.cost)
            return ReservationTotals(
                total, settled=settlement.cost, released=total - settlement.cost
            )
