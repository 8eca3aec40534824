"""Usage and run times as charts, numbers that a template draws, and as a table. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final

from core.jobs.run_times import RunHistory
from service.tenants.usage_reports import write_csv

HEIGHT: Final = 40
"""Of the tallest bar, in the chart's own units."""
_MIN_HEIGHT: Final = 0.4
"""An amount above zero is still to be seen."""
MAX_BARS: Final = 40
"""More groups are left to the table."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar of a chart: its group, the amount in USD, and how tall or long it is."""

    name: str
    value: float
    height: float


def bars_of(report: Mapping[str, Any]) -> list[Bar]:
    """Return the bars of a usage report: every day of its period, or the largest groups."""
    amounts = {row["group"]: row["used_usd"] for row in report["rows"]}
    if report["by"] == "day":
        amounts = {day: amounts.get(day, 0) for day in _days(report["from"], report["to"])}
    elif report["by"] != "month":
        largest = sorted(amounts, key=lambda name: -amounts[name])[:MAX_BARS]
        amounts = {name: amounts[name] for name in largest}
    return scaled(list(amounts.items()))


def _days(first: str, last: str) -> Iterator[str]:
    day = date.fromisoformat(first)
    while day <= date.fromisoformat(last):
        yield day.isoformat()
        day += timedelta(days=1)


def scaled(amounts: Sequence[tuple[str, float]]) -> list[Bar]:
    """Return a bar for each amount; the largest has the full height."""
    largest = max((amount for _, amount in amounts), default=0)
    return [
        Bar(name, amount, max(amount / largest * HEIGHT, _MIN_HEIGHT) if amount > 0 else 0)
        for name, amount in amounts
    ]


def table_of(report: Mapping[str, Any]) -> str:
    """Return a report as CSV, its total last."""
    rows = [*report["rows"], {"group": "total", **report["total"]}]
    names = ["group", *report["total"]]
    return write_csv(
        [report["by"], *names[1:]], [[str(row[name]) for name in names] for row in rows]
    )


def summed(report: Mapping[str, Any], name: str = "group") -> dict[str, Any]:
    """Return a report of several tenants with one row for each group, or for each tenant."""
    rows: dict[str, dict[str, Any]] = {}
    for row in report["rows"]:
        known = rows.setdefault(row[name], {"group": row[name]})
        for field in report["total"]:
            known[field] = known.get(field, 0) + row[field]
    return {**report, "rows": [rows[group] for group in sorted(rows)]}


@dataclass(frozen=True, slots=True)
class RunTimeRow:
    """A model's run times: half of the runs ended within `median`, nine of ten within `p90`.

    `median_width` and `p90_width` are those of its bars, of `HEIGHT` units at most.
    """

    model_id: str
    runs: int
    median: timedelta
    p90: timedelta
    median_width: float
    p90_width: float


def run_time_rows(histories: Sequence[tuple[str, RunHistory]]) -> list[RunTimeRow]:
    """Return a row for each model of which enough runs are known, to one scale."""
    known = [
        (model, len(one.times), median, p90)
        for model, one in histories
        if (median := one.remaining(timedelta(), 0.5)) is not None
        and (p90 := one.remaining(timedelta(), 0.9)) is not None
    ]
    longest = max((p90 for *_, p90 in known), default=timedelta())
    return [
        RunTimeRow(model, runs, median, p90, _width(median, longest), _width(p90, longest))
        for model, runs, median, p90 in known
    ]


def _width(time: timedelta, longest: timedelta) -> float:
    return time / longest * HEIGHT if longest else 0
