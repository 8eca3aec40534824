"""What a tenant used, and how its limits stand. Values only; money in micro-dollars."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from core.billing.settlement import Booking
from core.tenants.limits import Limits, Span


@dataclass(frozen=True, slots=True)
class Use:
    """What was used in one window, in all or of one model."""

    jobs: int = 0
    booking: Booking = field(default_factory=Booking)
    reused: int = 0
    """Of the jobs, those that got a result which another paid for."""
    saved: int = 0
    """What these would have cost, in micro-dollars."""


@dataclass(frozen=True, slots=True)
class WindowUse:
    """One window's use, in all and by model."""

    span: Span
    total: Use
    models: Mapping[str, Use]


@dataclass(frozen=True, slots=True)
class Usage:
    """How a tenant stands now."""

    limits: Limits
    windows: tuple[WindowUse, ...]
    running: int
    waiting: int
