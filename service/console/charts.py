"""Charts of usage, as numbers that a template draws without a script. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final

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
