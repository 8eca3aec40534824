"""The settlement of a job's reservation. Pure; the store adds the differences to usage windows.

Invariant, for every job and so for every window: reserved = settled + released + held, where held
is the part that is not decided yet. An amount never moves between windows: it stays in those
of the accounting day on which the job was admitted (`core.tenants.windows`).
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from core.jobs.job import BillingStatus, Job
from core.money import MicroUsd

ZERO: Final = MicroUsd(0)


class SettlementStatus(StrEnum):
    """What became of a job's reservation."""

    HELD = "held"
    """Not decided: the job is open or in doubt, or its cost is still to be read."""
    FREE = "free"
    """Nothing was charged: the whole reservation is released."""
    SPENT = "spent"
    """RunComfy reported the cost."""
    ESTIMATED = "estimated"
    """Something was or may have been charged, but no cost was reported: the estimate counts."""


@dataclass(frozen=True, slots=True)
class Settlement:
    """The status of a reservation, with the cost if RunComfy reported it."""

    status: SettlementStatus
    cost: MicroUsd = ZERO


_HELD: Final = Settlement(SettlementStatus.HELD)


def settlement_of(job: Job) -> Settlement:
    """Return the settlement of the job's reservation."""
    if not job.is_final:
        return _HELD
    if job.cost is not None:
        return Settlement(SettlementStatus.SPENT, job.cost)
    if job.follow_up is not None:
        return _HELD
    return Settlement(
        SettlementStatus.FREE if job.billed is BillingStatus.NO else SettlementStatus.ESTIMATED
    )


@dataclass(frozen=True, slots=True)
class ReservationTotals:
    """The amounts of one job, or the sums of one window, in micro-dollars."""

    reserved: int = 0
    settled: int = 0
    released: int = 0

    @property
    def held(self) -> int:
        """Neither spent nor released."""
        return self.reserved - self.settled - self.released

    @property
    def used(self) -> int:
        """What counts against a budget."""
        return self.reserved - self.released
