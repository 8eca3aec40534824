"""An own account of planned jobs, with nothing of the product in it: plain whole numbers.

What a job counts as is written down once, from how it ends; it is never a difference of two steps.
Names of columns are those of the CSV of `gateway usage`. Money is in micro-dollars.
"""

import csv
import io
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from datetime import date, timedelta
from decimal import Decimal
from typing import Final

from tests.bench.books_plan import HOUR, TENANTS, Ending, PlannedJob

COUNTS: Final = (
    *("jobs", "completed", "failed", "cancelled", "open", "reused", "in_doubt", "estimated"),
    "charged_failures",
)
MONEY: Final = (
    *("used_usd", "settled_usd", "reserved_usd", "saved_usd", "in_doubt_usd", "estimated_usd"),
    "charged_failures_usd",
)
VIDEO: Final = "video_seconds"
ROWS_OF_A_DAY: Final = 200
"""References and labels that a day keeps apart, as `docs/tenants.md` has it."""
Amounts = Mapping[str, int]

_STATUS: Final[Mapping[Ending, str]] = {
    Ending.COMPLETED: "completed",
    Ending.COST_LATER: "completed",
    Ending.DOUBT_ATTACHED: "completed",
    Ending.FAILED: "failed",
    Ending.FAILED_CHARGED: "failed",
    Ending.FAILED_UNKNOWN: "failed",
    Ending.DOUBT_LOST: "failed",
    Ending.CANCELLED: "cancelled",
    Ending.CANCELLED_CHARGED: "cancelled",
    Ending.IN_DOUBT: "open",
    Ending.OPEN: "open",
}
_UNPAID: Final = frozenset({Ending.FAILED, Ending.CANCELLED})
_ESTIMATED: Final = frozenset({Ending.FAILED_UNKNOWN, Ending.DOUBT_LOST})


def amounts_of(job: PlannedJob) -> Amounts:
    """Return what a job counts as after the year."""
    status = _STATUS[job.ending]
    found = {"jobs": 1, status: 1}
    if status == "open":
        found |= {"reserved_usd": job.price, "used_usd": job.price}
        if job.ending is Ending.IN_DOUBT:
            found |= {"in_doubt": 1, "in_doubt_usd": job.price}
        return found
    charged = job.price if job.ending in _ESTIMATED else job.cost
    charged = 0 if job.ending in _UNPAID else charged
    found |= {"settled_usd": charged, "used_usd": charged}
    if job.ending in _ESTIMATED:
        found |= {"estimated": 1, "estimated_usd": charged}
    if status != "completed" and charged:
        found |= {"charged_failures": 1, "charged_failures_usd": charged}
    if status == "completed":
        found[VIDEO] = job.video_ms
    return found


def amounts_of_reuse(job: PlannedJob) -> Amounts:
    """Return what a repetition counts as that got the job's result."""
    return {"jobs": 1, "completed": 1, "reused": 1, "saved_usd": job.cost}


def day_of(job: PlannedJob) -> date:
    """Return the day in which a job counts: by its tenant's wall clock, less the reset hour."""
    tenant = TENANTS[job.tenant]
    is_summer = tenant.summer is not None and tenant.summer[0] <= job.at < tenant.summer[1]
    ahead = tenant.winter + (HOUR if is_summer else timedelta())
    return (job.at + ahead - tenant.reset_hour * HOUR).date()


class Tally:
    """Sums by tenant, kind of group and group; kinds are those of `--by`, and the windows."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._sums: dict[tuple[str, str, str, str], dict[str, int]] = {}
        """By tenant, kind, month and group."""
        self._apart: dict[tuple[str, date, str], set[str]] = defaultdict(set)

    def __len__(self) -> int:
        """Return how many sums are kept."""
        return sum(map(len, self._sums.values()))

    def add(self, job: PlannedJob, amounts: Amounts) -> None:
        """Add a job, in the order of admissions: the first values of a day are kept apart."""
        day = day_of(job)
        month, known = f"{day.year}-{day.month:02}", self._sums
        for kind, group in self._groups(job, day):
            add_amounts(known.setdefault((job.tenant, kind, month, group), {}), amounts)

    def rows(
        self, kind: str, tenant: str | None = None, month: str | None = None
    ) -> dict[tuple[str, str], dict[str, int]]:
        """Return the sums of a kind by tenant and group, without zeros."""
        stored, names = _GROUPS_OF.get(kind, (kind, _same))
        found: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
        for (owner, of, when, group), sums in self._sums.items():
            if of == stored and tenant in {None, owner} and month in {None, when}:
                for name in names(group):
                    add_amounts(found[owner, name], sums)
        return {row: without_zeros(sums) for row, sums in found.items()}

    def total(self, tenant: str | None = None, month: str | None = None) -> dict[str, int]:
        """Return the sums over all jobs, or over those of a tenant or a month."""
        found: dict[str, int] = {}
        for sums in self.rows("day", tenant, month).values():
            add_amounts(found, sums)
        return found

    def _groups(self, job: PlannedJob, day: date) -> Iterator[tuple[str, str]]:
        yield "day", day.isoformat()
        yield "model", job.model
        yield "key", job.key
        yield "reference", self._place(job, day, "reference", job.reference) or "(none)"
        for label in sorted({self._place(job, day, "label", one) or "" for one in job.labels}):
            yield "label", label

    def _place(self, job: PlannedJob, day: date, kind: str, value: str | None) -> str | None:
        """Return the group of a value: its own, or that of all others of a full day."""
        if value is None:
            return None
        apart = self._apart[job.tenant, day, kind]
        if value not in apart and len(apart) >= ROWS_OF_A_DAY:
            return "(other)"
        apart.add(value)
        return value


def add_amounts(sums: dict[str, int], amounts: Amounts) -> None:
    """Add amounts to sums."""
    for name, amount in amounts.items():
        sums[name] = sums.get(name, 0) + amount


def _same(group: str) -> tuple[str, ...]:
    return (group,)


def _month_of(day: str) -> tuple[str, ...]:
    return (day[:7],)


def _windows_of(day: str) -> tuple[str, ...]:
    """Return the names of the day's, week's and month's windows and of the total, as stored."""
    monday = date.fromisoformat(day) - timedelta(days=date.fromisoformat(day).isoweekday() - 1)
    return (f"D{day.replace('-', '')}", f"W{monday:%Y%m%d}", f"M{day[:4]}{day[5:7]}01", "T")


_GROUPS_OF: Final[Mapping[str, tuple[str, Callable[[str], tuple[str, ...]]]]] = {
    "month": ("day", _month_of),
    "window": ("day", _windows_of),
}
"""Kinds that are sums of others: of which, and into which groups each goes."""


def without_zeros(sums: Amounts) -> dict[str, int]:
    """Return the sums that are not zero."""
    return {name: amount for name, amount in sums.items() if amount}


def parse_usd(text: str) -> int:
    """Return micro-dollars, exactly. Raises `ValueError` for a part of one."""
    micro = Decimal(text) * 1_000_000
    if micro != int(micro):
        raise ValueError(f"{text} USD is no whole number of micro-dollars")
    return int(micro)


def parse_report(text: str) -> dict[tuple[str, str], dict[str, int]]:
    """Return the rows of the CSV of `gateway usage` by tenant and group, without zeros."""
    rows = csv.DictReader(io.StringIO(text))
    _, by, *_ = rows.fieldnames or ("", "")
    return {(row["tenant"], row[by]): _parse_row(row) for row in rows}


def _parse_row(row: Mapping[str, str]) -> dict[str, int]:
    sums = {name: int(row[name]) for name in COUNTS}
    sums |= {name: parse_usd(row[name]) for name in MONEY}
    return without_zeros(sums | {VIDEO: round(Decimal(row[VIDEO]) * 1000)})


STATEMENT_COLUMNS: Final[Mapping[str, str]] = {
    "requests": "jobs",
    "completed": "completed",
    "failed": "failed",
    "reused": "reused",
    "charged USD": "settled_usd",
    "of it estimated": "estimated_usd",
    "of it for failures": "charged_failures_usd",
    "still reserved": "reserved_usd",
    "saved by reuse": "saved_usd",
}
"""Columns of a statement, and what they are called in a report."""


def statement_sums(sums: Amounts) -> dict[str, int]:
    """Return the part of a row that a statement has."""
    return {name: sums[name] for name in STATEMENT_COLUMNS.values() if sums.get(name)}


def parse_statement(text: str) -> dict[tuple[str, str], dict[str, int]]:
    """Return the rows of a statement's CSV by part and group, without zeros."""
    return {
        (row["part"], row["group"]): without_zeros(
            {
                name: parse_usd(row[column]) if name in MONEY else int(row[column])
                for column, name in STATEMENT_COLUMNS.items()
            }
        )
        for row in csv.DictReader(io.StringIO(text))
    }
