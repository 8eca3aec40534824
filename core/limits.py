"""What a tenant may do, and what the whole gateway may do at once: limits as values. Knows no store.

None always means: no limit. Instants of resets are UTC: a day starts at 00:00 UTC, a month on its 1st.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import IntEnum, StrEnum
from typing import Final

from core.money import MicroUsd


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
    """Submits at once on top of an idle minute; None: as many as a minute allows."""
    running: int | None = None
    waiting: int | None = None
    jobs_per_day: int | None = None
    jobs_per_month: int | None = None
    usd_per_request: MicroUsd | None = None
    usd_per_day: MicroUsd | None = None
    usd_per_month: MicroUsd | None = None
    weight: float = 1.0
    models: tuple[str, ...] = ()
    """Patterns with `*`, each for a whole model id; empty: every model."""
    priority: Priority = Priority.HIGH
    """The largest priority that the tenant may ask for."""
    unknown_price: UnknownPrice = UnknownPrice.COUNT
    unknown_price_counts: MicroUsd = MicroUsd(0)


@dataclass(frozen=True, slots=True)
class GlobalLimits:
    """What all tenants together may do."""

    running: int | None = None
    submits_per_second: float | None = None
    polls_per_second: float | None = None
    models: tuple[tuple[str, int], ...] = ()
    """Model ids with how many of their jobs may run at once."""


class Policy(StrEnum):
    """The limits by the names that refusals and `RateLimit` fields give them."""

    REQUESTS = "requests-per-minute"
    WAITING = "waiting"
    JOBS_DAY = "jobs-per-day"
    JOBS_MONTH = "jobs-per-month"
    USD_REQUEST = "usd-per-request"
    USD_DAY = "usd-per-day"
    USD_MONTH = "usd-per-month"
    MODELS = "models"
    PRIORITY = "priority"
    UNKNOWN_PRICE = "unknown-price"
    RUNNING = "running"
    WALLET = "wallet"


@dataclass(frozen=True, slots=True)
class Quota:
    """How one limit stands after a decision. Money is in micro-dollars."""

    policy: Policy
    limit: int
    remaining: int
    resets_in: timedelta


class Window(StrEnum):
    """The spans over which use is counted."""

    DAY = "day"
    MONTH = "month"


@dataclass(frozen=True, slots=True)
class Span:
    """One window: its name in the store, and when it ends."""

    window: Window
    name: str
    resets_at: datetime


def spans_at(now: datetime) -> tuple[Span, Span]:
    """The day and the month that `now` falls into, in UTC."""
    utc = now.astimezone(UTC)
    day = utc.replace(hour=0, minute=0, second=0, microsecond=0)
    month = day.replace(day=1)
    following = (month + timedelta(days=32)).replace(day=1)
    return (
        Span(Window.DAY, f"{day:%Y%m%d}", day + timedelta(days=1)),
        Span(Window.MONTH, f"{month:%Y%m}", following),
    )


_LUA_MAGIC: Final = re.compile(r"([^a-zA-Z0-9*])")


def lua_pattern(pattern: str) -> str:
    """A model pattern in Lua's own pattern language, for the script that decides admissions."""
    return "^" + _LUA_MAGIC.sub(r"%\1", pattern).replace("*", ".*") + "$"
