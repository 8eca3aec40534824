"""What a job's money has come to. Pure; the store books the differences in its tenant's windows.

At any moment, for every job and so for every window: reserved = settled + released + held, where
held is what may still turn out either way. A figure never moves between windows: a job's money
stays in the day and the month (UTC) in which it was admitted.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from core.jobs.job import Billed, Job
from core.money import MicroUsd

NOTHING: Final = MicroUsd(0)


class Verdict(StrEnum):
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
class Standing:
    """A verdict, with the cost where it was told."""

    verdict: Verdict
    cost: MicroUsd = NOTHING


_HELD: Final = Standing(Verdict.HELD)


def standing(job: Job) -> Standing:
    """How the job's reservation stands."""
    if job.final and job.cost is not None:
        return Standing(Verdict.SPENT, job.cost)
    if not job.final or job.errand is not None:
        return _HELD
    return Standing(Verdict.FREE if job.billed is Billed.NO else Verdict.ESTIMATED)


@dataclass(frozen=True, slots=True)
class Booking:
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


def booked(reserved: int, at: Standing) -> Booking:
    """The booking of a reservation that stands so; the script `ledger` does the same in the store.

    A cost above the estimate raises the reservation with it.
    """
    match at.verdict:
        case Verdict.HELD:
            return Booking(reserved)
        case Verdict.FREE:
            return Booking(reserved, released=reserved)
        case Verdict.ESTIMATED:
            return Booking(reserved, settled=reserved)
        case Verdict.SPENT:
            total = max(reserved, at.cost)
            return Booking(total, settled=at.cost, released=total - at.cost)
