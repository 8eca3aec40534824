"""What RunComfy's requests cost, one by one: what its own bill is compared with. Pure.

A request that has ended is deleted after a week, before the bill comes. Its charge is kept longer.
"""

from dataclasses import dataclass
from typing import Final, Self

from core.billing.settlement import SettlementStatus, settlement_of
from core.jobs.job import Job
from core.money import MicroUsd

_WITHOUT_ID: Final = "?"


@dataclass(frozen=True, slots=True)
class Charge:
    """What one request of RunComfy cost a tenant."""

    tenant: str
    status: SettlementStatus
    amount: MicroUsd

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the charge of a text of the store; words of a later release are ignored."""
        tenant, status, amount, *_ = text.split()
        return cls(tenant, SettlementStatus(status), MicroUsd(int(amount)))


def charge_name(job: Job) -> str | None:
    """Return under what a job's charge is kept: RunComfy's id of its request.

    A submit that RunComfy may not have has none, and counts as paid: its own id with a mark before
    it. So has one before a run that was handed over, whose id is the successor's. None: nothing is
    decided, or nothing was sent.
    """
    status = settlement_of(job).status
    if status is SettlementStatus.HELD:
        return None
    if job.upstream_id is not None and not job.is_handed_over:
        return job.upstream_id
    return name_without_id(job) if status is SettlementStatus.ESTIMATED else None


def name_without_id(job: Job) -> str:
    """Return under what a job's charge is kept while RunComfy's id is unknown.

    It goes when a charge by RunComfy's id comes. No single change shows both: the id may have come
    earlier, with a cost that was still to be read.
    """
    return f"{_WITHOUT_ID}{job.id}"


def is_without_id(name: str) -> bool:
    """Return whether a charge is of a submit of which RunComfy's id is unknown."""
    return name.startswith(_WITHOUT_ID)


def charge_changes(before: Job, after: Job) -> bool:
    """Return whether a change of a job decides what it costs."""
    name = charge_name(after)
    if name is None or not before.is_final:
        return name is not None
    return (charge_name(before), settlement_of(before)) != (name, settlement_of(after))
