"""A tenant's usage and its limits. Values only; money in micro-dollars."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from core.billing.settlement import ReservationTotals
from core.files import FileUsage
from core.money import MicroUsd
from core.tenants.limits import Limits, UsageWindow, Window


@dataclass(frozen=True, slots=True)
class UsageTotals:
    """Usage in one window, in total or of one model."""

    jobs: int = 0
    reservations: ReservationTotals = field(default_factory=ReservationTotals)
    reused_jobs: int = 0
    """The part of `jobs` that got the result of another job."""
    cost_saved: int = 0
    """What these would have cost, in micro-dollars."""


@dataclass(frozen=True, slots=True)
class WindowUsage:
    """Usage in one window, in total and by model."""

    window: UsageWindow
    total: UsageTotals
    models: Mapping[str, UsageTotals]


@dataclass(frozen=True, slots=True)
class Usage:
    """A tenant's present usage and limits."""

    limits: Limits
    windows: tuple[WindowUsage, ...]
    running: int
    waiting: int
    files: FileUsage = FileUsage()  # noqa: RUF009 - frozen

    def budget_of(self, window: UsageWindow) -> MicroUsd | None:
        """Return the budget of one of the windows; None without one."""
        budgets = {Window.DAY: self.limits.usd_per_day, Window.MONTH: self.limits.usd_per_month}
        return budgets[window.kind]

    @property
    def remaining_budget(self) -> MicroUsd | None:
        """What the tightest budget of a window leaves, at least 0; None without a budget."""
        left = [
            max(budget - one.total.reservations.used, 0)
            for one in self.windows
            if (budget := self.budget_of(one.window)) is not None
        ]
        return MicroUsd(min(left)) if left else None
