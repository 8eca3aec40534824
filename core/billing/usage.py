"""What a tenant used, and how its limits stand. Values only; money in micro-dollars."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from core.billing.settlement import ReservationTotals
from core.tenants.limits import Limits, UsageWindow


@dataclass(frozen=True, slots=True)
class UsageTotals:
    """What was used in one window, in all or of one model."""

    jobs: int = 0
    reservations: ReservationTotals = field(default_factory=ReservationTotals)
    reused_jobs: int = 0
    """Of the jobs, those that got a result which another paid for."""
    cost_saved: int = 0
    """What these would have cost, in micro-dollars."""


@dataclass(frozen=True, slots=True)
class WindowUsage:
    """One window's use, in all and by model."""

    window: UsageWindow
    total: UsageTotals
    models: Mapping[str, UsageTotals]


@dataclass(frozen=True, slots=True)
class Usage:
    """How a tenant stands now."""

    limits: Limits
    windows: tuple[WindowUsage, ...]
    running: int
    waiting: int
