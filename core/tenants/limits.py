"""What a tenant may do, and what the whole gateway may do at once, as values. Knows no store.

None always means: no limit. Resets are in UTC: a day starts at 00:00, a month on its 1st.
"""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import IntEnum, StrEnum
from functools import lru_cache
from typing import Final

from core.money import MicroUsd

_ZERO: Final = MicroUsd(0)


MIN_WEIGHT: Final = 0.001


MAX_WEIGHT: Final = 1000.0


MIN_RATE: Final = 0.001


MAX_RATE: Final = 100_000.0


_NON_NEGATIVE_FIELDS: Final = (
    "requests_per_minute",
    "running",
    "waiting",
    "jobs_per_day",
    "jobs_per_month",
    "usd_per_request",
    "usd_per_day",
    "usd_per_month",
    "unknown_price_counts",
)


class Priority(IntEnum):
    """Which of a tenant's own waiting jobs goes first; lower goes first."""

    HIGH = 0
    NORMAL = 1
    LOW = 2


class UnknownPrice(StrEnum):
    """What becomes of a submit whose price is not known."""

    COUNT = "count"
    """It counts at a configured figure."""
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Limits:
    """One tenant's limits."""

    requests_per_minute: int | None = None
    burst: int | None = None
    """How many submits may come at once after a pause; None: as many as a minute allows."""
    running: int | None = None
    waiting: int | None = None
    jobs_per_day: int | None = None
    jobs_per_month: int | None = None
    usd_per_request: MicroUsd | None = None
    usd_per_day: MicroUsd | None = None
    usd_per_month: MicroUsd | None = None
    weight: float = 1.0
    """Its share of the slots while others want them too."""
    models: tuple[str, ...] = ()
    """Patterns with `*`, each for a whole model id; empty: every model."""
    priority: Priority = Priority.HIGH
    """The largest priority that the tenant may ask for."""
    unknown_price: UnknownPrice = UnknownPrice.COUNT
    unknown_price_counts: MicroUsd = _ZERO

    def __post_init__(self) -> None:
        """Raises `ValueError` for figures that no rule could go by."""
        for name in _NON_NEGATIVE_FIELDS:
            value = getattr(self, name)
            if value is not None and value < 0:
                raise ValueError(f"{name} must not be negative")
        if self.burst is not None and self.burst < 1:
            raise ValueError("burst must be at least 1")
        if not MIN_WEIGHT <= self.weight <= MAX_WEIGHT:
            raise ValueError(f"weight must be from {MIN_WEIGHT} to {MAX_WEIGHT}")
        if any(not pattern or "\n" in pattern for pattern in self.models):
            raise ValueError("models must be patterns of one line each")


@dataclass(frozen=True, slots=True)
class GlobalLimits:
    """What all tenants together may do."""

    running: int | None = None
    submits_per_second: float | None = None
    polls_per_second: float | None = None
    models: tuple[tuple[str, int], ...] = ()
    """Model ids with how many of their jobs may run at once."""

    def __post_init__(self) -> None:
        """Raises `ValueError` for figures that no rule could go by."""
        for name in ("submits_per_second", "polls_per_second"):
            rate = getattr(self, name)
            if rate is not None and not MIN_RATE <= rate <= MAX_RATE:
                raise ValueError(f"{name} must be from {MIN_RATE} to {MAX_RATE}")
        if any(cap < 0 for cap in (self.running or 0, *(cap for _, cap in self.models))):
            raise ValueError("running and models must not be negative")


class Window(StrEnum):
    """The spans over which use is counted."""

    DAY = "day"
    MONTH = "month"


@dataclass(frozen=True, slots=True)
class UsageWindow:
    """One window: its name in the store, and when it ends."""

    kind: Window
    name: str
    resets_at: datetime


def usage_windows_at(now: datetime) -> tuple[UsageWindow, UsageWindow]:
    """The day and the month that `now` falls into, in UTC."""
    return _usage_windows_of(now.astimezone(UTC).date())


@lru_cache(maxsize=8)
def _usage_windows_of(today: date) -> tuple[UsageWindow, UsageWindow]:
    # Kept, since every admission and every change of a job asks, and strftime is slow.
    day = datetime(today.year, today.month, today.day, tzinfo=UTC)
    month = day.replace(day=1)
    following = (month + timedelta(days=32)).replace(day=1)
    return (
        UsageWindow(Window.DAY, f"{day:%Y%m%d}", day + timedelta(days=1)),
        UsageWindow(Window.MONTH, f"{month:%Y%m}", following),
    )


_LUA_MAGIC: Final = re.compile(r"([^a-zA-Z0-9*])")


_STARS: Final = re.compile(r"\*+")  # one after another they would only cost time


def lua_pattern(pattern: str) -> str:
    """A model pattern in Lua's own pattern language, for the script that decides admissions."""
    return "^" + _STARS.sub(".*", _LUA_MAGIC.sub(r"%\1", pattern)) + "$"
