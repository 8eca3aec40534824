"""Thresholds of budgets: which of them a tenant's usage has reached. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from core.billing.usage import NO_USAGE, Budget, UsageTotals
from core.money import MicroUsd
from core.tenants.windows import UsageWindow

DEFAULT_THRESHOLDS: Final = (50, 80, 100)
"""Percent of a budget."""


@dataclass(frozen=True, slots=True)
class ReachedThreshold:
    """A share of a budget that is used: spent or reserved."""

    window: UsageWindow
    percent: int
    used: MicroUsd
    budget: MicroUsd


def reached_thresholds(
    budget: Budget, kept: Mapping[str, UsageTotals], now: datetime, percents: Sequence[int]
) -> Iterator[ReachedThreshold]:
    """Yield the thresholds that each present window has reached, the lowest first.

    `kept` are all windows by name. A budget of 0 has none: nothing can be used of it.
    """
    for window in budget.calendar.windows_at(now):
        limit = budget.of_window(window, kept, now)
        used = MicroUsd(kept.get(window.name, NO_USAGE).reservations.used)
        if not limit:
            continue
        for percent in sorted(percents):
            if used * 100 >= limit * percent:
                yield ReachedThreshold(window, percent, used, limit)
