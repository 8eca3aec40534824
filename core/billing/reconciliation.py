"""Compares RunComfy's bill with what the gateway has settled, request by request. Pure.

All amounts are in micro-dollars, and compared exactly.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from core.billing.charges import Charge, is_without_id
from core.jobs.job import Job
from core.money import MicroUsd


class DifferenceKind(StrEnum):
    """How the bill and the gateway differ about one request."""

    NOT_OURS = "not_ours"
    """On the bill; no job of the gateway ever had it."""
    NOT_THEIRS = "not_theirs"
    """The gateway counts it as paid; it is not on the bill."""
    AMOUNT = "amount"
    NOT_SETTLED = "not_settled"
    """On the bill; its job has not ended, or its cost is not read yet."""
    WITHOUT_ID = "without_id"
    """The gateway counts a submit as paid of which RunComfy's id was never known."""
    IN_DOUBT = "in_doubt"
    """RunComfy may or may not have it: a request that is `not_ours` may be this one."""
    NO_REQUEST = "no_request"
    """A line of the bill without a request's id."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference. None: that side does not have it."""

    kind: DifferenceKind
    request: str
    """RunComfy's id; the gateway's own of a submit without one."""
    tenant: str
    theirs: int | None
    ours: int | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a bill and the gateway's charges have in common, and where they differ."""

    matched: int
    theirs: int
    """The sum of the bill."""
    ours: int
    """The sum of the charges of the period, and of earlier and later ones that are billed."""
    differences: tuple[Difference, ...]


def sum_charges(days: Iterable[Mapping[str, Charge]]) -> dict[str, Charge]:
    """Return the charges of several days by name; those of one name add up."""
    found: dict[str, Charge] = {}
    for day in days:
        for name, charge in day.items():
            known = found.get(name)
            if known is None or not known.amount:
                found[name] = charge
            elif charge.amount:
                total = MicroUsd(known.amount + charge.amount)
                found[name] = Charge(charge.tenant, charge.status, total)
    return found


def compare(
    theirs: Mapping[str, int],
    ours: Mapping[str, Charge],
    expected: Iterable[str],
    unsettled: Mapping[str, str],
) -> Comparison:
    """Compare a bill with all charges that are kept.

    `expected` are the names of the charges of the bill's period. `unsettled` has the tenants of
    the gateway's requests that have no charge yet.
    """
    billed = [_billed(name, amount, ours.get(name), unsettled) for name, amount in theirs.items()]
    missing = [name for name in expected if name not in theirs]
    differences = [found for found in billed if found is not None]
    matched = len(billed) - len(differences)
    differences += _not_billed({name: ours[name] for name in missing})
    counted = {*missing, *(theirs.keys() & ours.keys())}
    return Comparison(
        matched,
        sum(theirs.values()),
        sum(ours[name].amount for name in counted),
        tuple(differences),
    )


def _billed(
    name: str, amount: int, charge: Charge | None, unsettled: Mapping[str, str]
) -> Difference | None:
    if charge is not None:
        if charge.amount == amount:
            return None
        return Difference(DifferenceKind.AMOUNT, name, charge.tenant, amount, charge.amount)
    if name in unsettled:
        return Difference(DifferenceKind.NOT_SETTLED, name, unsettled[name], amount, None)
    return Difference(DifferenceKind.NOT_OURS, name, "", amount, None)


def _not_billed(charges: Mapping[str, Charge]) -> Iterator[Difference]:
    for name, charge in charges.items():
        if not charge.amount:
            continue  # what is free is on no bill
        lost = is_without_id(name)
        kind = DifferenceKind.WITHOUT_ID if lost else DifferenceKind.NOT_THEIRS
        yield Difference(kind, name[lost:], charge.tenant, None, charge.amount)


def in_doubt(jobs: Iterable[Job]) -> Iterator[Difference]:
    """Yield the submits in doubt, each with its estimate."""
    for job in jobs:
        yield Difference(DifferenceKind.IN_DOUBT, job.id, job.tenant, None, job.estimate)
