"""Thresholds of budgets: which of them a tenant's usage has reached. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from core.billing.usage import Usage
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


def reached_thresholds(usage: Usage, percents: Sequence[int]) -> Iterator[ReachedThreshold]:
    """Yield the thresholds that each window has reached, the lowest first.

    A budget of 0 has none: nothing can be used of it.
    """
    for one in usage.windows:
        budget, used = usage.budget_of(one.window), MicroUsd(one.total.reservations.used)
        if not budget:
            continue
        for percent in sorted(percents):
            if used * 100 >= budget * percent:
                yield ReachedThreshold(one.window, percent, used, budget)
