"""A tenant's usage by day: the rows in which a job counts, and how they are reported. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Final

from core.billing.usage import NO_USAGE, UsageTotals, WindowUsage
from core.jobs.job import Job
from core.tenants.windows import UsageWindow, Window, window_names

TOTAL_ROW: Final = "total"
MAX_ROWS: Final = 200
"""Rows of one dimension that a tenant's day may have; further values count in one row of others."""
_SEPARATOR: Final = "|"


class Dimension(StrEnum):
    """By what a day's usage is kept apart. Callers choose the values of some: they are bounded."""

    MODEL = "model"
    KEY = "key"
    REFERENCE = "reference"
    LABEL = "label"


OTHER: Final = "(other)"
"""The values for which a day has no row of their own."""
NONE: Final = "(none)"
"""Jobs without a value."""


def row_name(dimension: Dimension, value: str) -> str:
    """Return the name of the row of a value; that of the others is the dimension's own."""
    return f"{dimension}{_SEPARATOR}{value}"


def rows_of_job(job: Job) -> tuple[str, ...]:
    """Return the names of the rows in which a job counts."""
    rows = [TOTAL_ROW, row_name(Dimension.MODEL, job.model_id)]
    if job.key_id is not None:
        rows.append(row_name(Dimension.KEY, job.key_id))
    if job.reference is not None:
        rows.append(row_name(Dimension.REFERENCE, job.reference))
    rows += (row_name(Dimension.LABEL, label) for label in job.labels)
    return tuple(rows)


@dataclass(frozen=True, slots=True)
class DayUsage:
    """One day: its total, and its rows of the dimension that was requested, by value."""

    day: date
    total: UsageTotals
    rows: Mapping[str, UsageTotals]


def window_usage(
    window: UsageWindow, kept: Mapping[str, UsageTotals], days: Iterable[DayUsage]
) -> WindowUsage:
    """Return the usage in a window, with the models of its days; the total has no models."""
    models: dict[str, UsageTotals] = {}
    for day in days:
        if window.kind is not Window.TOTAL and window.name in window_names(day.day):
            for name, use in day.rows.items():
                models[name] = models.get(name, NO_USAGE) + use
    return WindowUsage(window, kept.get(window.name, NO_USAGE), models)


class GroupBy(StrEnum):
    """The rows of a report."""

    DAY = "day"
    MONTH = "month"
    MODEL = "model"
    KEY = "key"
    REFERENCE = "reference"
    LABEL = "label"
    """A job with several labels counts in each of them: only the groups of one key add up."""


def parse_rows(stored: Mapping[bytes, bytes], dimension: Dimension) -> dict[str, UsageTotals]:
    """Return a day's rows of one dimension by value, from the names and texts of the store."""
    prefix = row_name(dimension, "").encode()
    rows = {
        name[len(prefix) :].decode(): UsageTotals.parse(text)
        for name, text in stored.items()
        if name.startswith(prefix)
    }
    others = stored.get(dimension.encode())
    return rows if others is None else rows | {OTHER: UsageTotals.parse(others)}


def group_rows(day: DayUsage, by: GroupBy) -> Iterator[tuple[str, UsageTotals]]:
    """Yield the parts of one day for a report; their sum is the day's total, but for labels."""
    if by is GroupBy.DAY:
        yield f"{day.day:%Y-%m-%d}", day.total
    elif by is GroupBy.MONTH:
        yield f"{day.day:%Y-%m}", day.total
    else:
        yield from day.rows.items()
        parts = map(sum, zip(*(use.numbers for use in day.rows.values()), strict=True))
        rest = _difference(day.total, UsageTotals(*parts))
        if rest != NO_USAGE and by is not GroupBy.LABEL:
            yield NONE, rest


def _without_label(total: UsageTotals, groups: Mapping[str, UsageTotals]) -> dict[str, UsageTotals]:
    """Return for each key what has no label of it: `team=(none)`. Not known if there are others."""
    rest = {} if OTHER in groups else {name.partition("=")[0]: total for name in groups}
    for name, use in groups.items():
        key = name.partition("=")[0]
        if key in rest:
            rest[key] = _difference(rest[key], use)
    return {f"{key}={NONE}": use for key, use in rest.items() if use != NO_USAGE}


def _difference(total: UsageTotals, parts: UsageTotals) -> UsageTotals:
    return UsageTotals(*map(int.__sub__, total.numbers, parts.numbers))


DIMENSION_OF: Final[Mapping[GroupBy, Dimension | None]] = {
    GroupBy.DAY: None,
    GroupBy.MONTH: None,
    GroupBy.MODEL: Dimension.MODEL,
    GroupBy.KEY: Dimension.KEY,
    GroupBy.REFERENCE: Dimension.REFERENCE,
    GroupBy.LABEL: Dimension.LABEL,
}
"""The rows that a report needs; None: the totals alone."""


class UsageReport:
    """Sums over days, grouped. Days are added one at a time, so that a year needs no memory."""

    def __init__(self, by: GroupBy) -> None:
        """Begin with nothing."""
        self.by = by
        self.total = NO_USAGE
        self._groups: dict[str, list[int]] = {}

    def add(self, day: DayUsage) -> None:
        """Add a day, of one tenant."""
        self.total += day.total
        for name, use in group_rows(day, self.by):
            known = self._groups.get(name)
            self._groups[name] = (
                list(use.numbers) if known is None else list(map(int.__add__, known, use.numbers))
            )

    @property
    def groups(self) -> tuple[tuple[str, UsageTotals], ...]:
        """The groups by name; their sum is `total`, of labels that of the groups of one key."""
        found = {name: UsageTotals(*sums) for name, sums in self._groups.items()}
        if self.by is GroupBy.LABEL:
            found |= _without_label(self.total, found)
        return tuple(sorted(found.items()))
