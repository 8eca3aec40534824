"""A year of jobs for the books: when each is admitted, what it is about, how it ends and costs.

2028 is a leap year. One job in eight is near an instant at which some tenant's day begins or its
clock changes, one in twenty is admitted by a clock that went back, and one in ten settles days
after it was admitted. Everything follows from the number of jobs.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from random import Random
from typing import Final

SEED: Final = 19
YEAR_BEGINS: Final = datetime(2028, 1, 1, tzinfo=UTC)
YEAR_ENDS: Final = datetime(2029, 1, 1, tzinfo=UTC)
HOUR: Final = timedelta(hours=1)
MODELS: Final = tuple(f"studio-{n}/film/text-to-video" for n in range(8))
LABELS: Final = tuple(f"team=t{n}" for n in range(6)) + tuple(f"project=p{n}" for n in range(9))
REFERENCES: Final = 300
"""References that a tenant has; on a busy day more than a day keeps apart."""
MAX_PRICE: Final = 3_000_000


@dataclass(frozen=True, slots=True)
class PlannedTenant:
    """A tenant, and what its wall clock shows: written out here, without a time zone library."""

    time_zone: str
    reset_hour: int
    winter: timedelta
    """What its clock is ahead of UTC."""
    summer: tuple[datetime, datetime] | None = None
    """From when until when it is an hour more; None: never."""


_EUROPE: Final = (datetime(2028, 3, 26, 1, tzinfo=UTC), datetime(2028, 10, 29, 1, tzinfo=UTC))
_AMERICA: Final = (datetime(2028, 3, 12, 7, tzinfo=UTC), datetime(2028, 11, 5, 6, tzinfo=UTC))
TENANTS: Final[Mapping[str, PlannedTenant]] = {
    "utc": PlannedTenant("UTC", 0, timedelta()),
    "rome": PlannedTenant("Europe/Rome", 0, HOUR, _EUROPE),
    "rome-2": PlannedTenant("Europe/Rome", 2, HOUR, _EUROPE),
    "rome-3": PlannedTenant("Europe/Rome", 3, HOUR, _EUROPE),
    "new-york": PlannedTenant("America/New_York", 0, -5 * HOUR, _AMERICA),
    "kolkata": PlannedTenant("Asia/Kolkata", 6, 5.5 * HOUR),
    "kiritimati": PlannedTenant("Pacific/Kiritimati", 0, 14 * HOUR),
    "pago-pago": PlannedTenant("Pacific/Pago_Pago", 23, -11 * HOUR),
}


class Ending(StrEnum):
    """How a job ends, and what is known of its cost."""

    COMPLETED = "completed"
    COST_LATER = "cost later"
    FAILED = "failed"
    FAILED_CHARGED = "failed, charged"
    FAILED_UNKNOWN = "failed, cost unknown"
    CANCELLED = "cancelled"
    CANCELLED_CHARGED = "cancelled, charged"
    DOUBT_LOST = "in doubt, lost"
    DOUBT_ATTACHED = "in doubt, attached"
    IN_DOUBT = "in doubt still"
    OPEN = "open still"


_WEIGHTS: Final[Mapping[Ending, int]] = {
    Ending.COMPLETED: 700,
    Ending.COST_LATER: 80,
    Ending.FAILED: 60,
    Ending.FAILED_CHARGED: 30,
    Ending.FAILED_UNKNOWN: 20,
    Ending.CANCELLED: 50,
    Ending.CANCELLED_CHARGED: 20,
    Ending.DOUBT_LOST: 15,
    Ending.DOUBT_ATTACHED: 15,
    Ending.IN_DOUBT: 2,
    Ending.OPEN: 8,
}


@dataclass(frozen=True, slots=True)
class PlannedJob:
    """One job. Money is in micro-dollars."""

    number: int
    tenant: str
    at: datetime
    """When it is admitted, by the clock of the process that admits it."""
    ends_after: timedelta
    model: str
    key: str
    reference: str | None
    labels: tuple[str, ...]
    price: int
    ending: Ending
    cost: int
    video_ms: int
    is_repeated: bool
    """Whether the same request is sent again once it has ended, and gets its result."""


def plan_year(count: int) -> Iterator[PlannedJob]:
    """Yield the jobs of a year, in the order in which they are admitted."""
    rng = Random(SEED)
    borders = sorted(_borders())
    instants = sorted(_instant(rng, borders) for _ in range(count))
    for number, instant in enumerate(instants):
        yield _plan_job(rng, number, instant)


def _borders() -> Iterator[datetime]:
    """Yield instants at which a day of a tenant begins or its clock changes."""
    dates = [(3, 1), (3, 26), (4, 1), (5, 1), (10, 29), (10, 30), (11, 1), (2, 29), (12, 31)]
    for tenant in TENANTS.values():
        yield from tenant.summer or ()
        for month, day in dates:
            midnight = datetime(2028, month, day, tenant.reset_hour, tzinfo=UTC)
            yield from (midnight - tenant.winter, midnight - tenant.winter - HOUR)


def _instant(rng: Random, borders: Sequence[datetime]) -> datetime:
    if rng.random() < 1 / 8:
        near = rng.choice((timedelta(), timedelta(microseconds=1), 3 * HOUR * rng.random()))
        return rng.choice(borders) + near * rng.choice((-1, 1))
    return YEAR_BEGINS + (YEAR_ENDS - YEAR_BEGINS) * rng.random()


def _plan_job(rng: Random, number: int, instant: datetime) -> PlannedJob:
    ending = rng.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0]
    is_repeated = ending is Ending.COMPLETED and rng.random() < 1 / 15
    went_back = 3 * HOUR * rng.random() if rng.random() < 1 / 20 else timedelta()
    is_late = rng.random() < 1 / 10
    price, tenant = rng.randrange(1, MAX_PRICE), rng.choice(list(TENANTS))
    return PlannedJob(
        number,
        tenant,
        instant - went_back,
        HOUR * (rng.uniform(1, 80) if is_late else rng.uniform(0.02, 0.5)),
        rng.choice(MODELS),
        f"{tenant}-key-{rng.randrange(3)}",
        f"order-{rng.randrange(REFERENCES)}" if rng.random() < 19 / 20 else None,
        tuple(sorted(rng.sample(LABELS, rng.choice((0, 1, 1, 2))))),
        price,
        ending,
        rng.choice((price, rng.randrange(price + 1), rng.randrange(2 * price + 1), 0)),
        rng.choice((0, 5_000, 8_500)),
        is_repeated,
    )
