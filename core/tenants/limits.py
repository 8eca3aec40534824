"""The limits of a tenant and of the whole gateway. Values only; their checks are `core.quotas`.

None always means: no limit. Windows begin and end by the tenant's calendar
(`core.tenants.windows`).
"""

import re
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Final

from core.money import MicroUsd

_ZERO: Final = MicroUsd(0)
DEFAULT_WEBHOOK_ACTIONS: Final = 60
CALLS_PER_SUBMIT: Final = 60
MIN_CALLS_PER_MINUTE: Final = 600
MIN_WEIGHT: Final = 0.001
MAX_WEIGHT: Final = 1000.0
MIN_RATE: Final = 0.001
MAX_RATE: Final = 100_000.0
COUNT_LIMITS: Final = (
    "requests_per_minute",
    "burst",
    "calls_per_minute",
    "stored_bytes",
    "storage_bytes",
    "upload_bytes_per_day",
    "running",
    "waiting",
    "jobs_per_day",
    "jobs_per_month",
)
"""The limits on counts and bytes that are otherwise none."""
BUDGET_LIMITS: Final = ("usd_per_day", "usd_per_week", "usd_per_month", "usd_total")
"""The limits of a window."""
MONEY_LIMITS: Final = ("usd_per_request", *BUDGET_LIMITS)
"""The limits on what may be spent."""
_NON_NEGATIVE_FIELDS: Final = (
    *COUNT_LIMITS,
    "webhook_actions_per_minute",
    *MONEY_LIMITS,
    "unknown_price_counts",
)
DEFAULTABLE_LIMITS: Final = (*COUNT_LIMITS, *MONEY_LIMITS)
"""The limits that an operator may set for new tenants: those that are otherwise none."""


class Priority(IntEnum):
    """The order of a tenant's own waiting jobs; lower is first."""

    HIGH = 0
    NORMAL = 1
    LOW = 2


class UnknownPrice(StrEnum):
    """What happens to a submit with an unknown price."""

    COUNT = "count"
    """It is counted at `Limits.unknown_price_counts`; refused if that is 0 and money is limited."""
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Limits:
    """One tenant's limits."""

    requests_per_minute: int | None = None
    burst: int | None = None
    """How many submits may arrive together after a pause; None: as many as a minute allows."""
    calls_per_minute: int | None = None
    """Calls that are no submits, dry runs included; None: `effective_calls_per_minute`."""
    webhook_actions_per_minute: int | None = DEFAULT_WEBHOOK_ACTIONS
    """Calls that each cause many events: test events, resends and replays."""
    running: int | None = None
    waiting: int | None = None
    jobs_per_day: int | None = None
    jobs_per_month: int | None = None
    usd_per_request: MicroUsd | None = None
    usd_per_day: MicroUsd | None = None
    usd_per_week: MicroUsd | None = None
    usd_per_month: MicroUsd | None = None
    usd_total: MicroUsd | None = None
    """Since the tenant was created."""
    stored_bytes: int | None = None
    """Inputs and outputs that may be stored together."""
    storage_bytes: int | None = None
    """Files that may be stored together, outside Redis."""
    upload_bytes_per_day: int | None = None
    weight: float = 1.0
    """Its share of the slots while other tenants wait for slots too."""
    models: tuple[str, ...] = ()
    """Patterns with `*`, each for a whole model id; empty: every model."""
    priority: Priority = Priority.HIGH
    """The highest priority that the tenant's submits may have."""
    unknown_price: UnknownPrice = UnknownPrice.COUNT
    unknown_price_counts: MicroUsd = _ZERO

    @property
    def effective_calls_per_minute(self) -> int | None:
        """The limit of calls: its own, or else in proportion to the limit of submits."""
        if self.calls_per_minute is not None or self.requests_per_minute is None:
            return self.calls_per_minute
        return max(self.requests_per_minute * CALLS_PER_SUBMIT, MIN_CALLS_PER_MINUTE)

    @property
    def has_budget(self) -> bool:
        """Whether the money of a window is limited."""
        return any(getattr(self, name) is not None for name in BUDGET_LIMITS)

    @property
    def refuses_unknown_price(self) -> bool:
        """Whether a submit with an unknown price is refused.

        Also where money is limited and no amount is set that such a submit counts.
        """
        return self.unknown_price is UnknownPrice.REFUSE or (
            self.has_money_limit and not self.unknown_price_counts
        )

    @property
    def has_money_limit(self) -> bool:
        """Whether anything limits what the tenant may spend."""
        return any(getattr(self, name) is not None for name in MONEY_LIMITS)

    def __post_init__(self) -> None:
        """Raises `ValueError` for a value out of range."""
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
    """The limits of all tenants together."""

    running: int | None = None
    submits_per_second: float | None = None
    polls_per_second: float | None = None
    models: tuple[tuple[str, int], ...] = ()
    """Model ids, each with the number of its jobs that may run concurrently."""
    tenant_defaults: tuple[tuple[str, int], ...] = ()
    """The limits of a new tenant that are not chosen for it: names of `DEFAULTABLE_LIMITS`, each
    with a count, bytes or micro-dollars."""

    def __post_init__(self) -> None:
        """Raises `ValueError` for a value out of range."""
        for name in ("submits_per_second", "polls_per_second"):
            rate = getattr(self, name)
            if rate is not None and not MIN_RATE <= rate <= MAX_RATE:
                raise ValueError(f"{name} must be from {MIN_RATE} to {MAX_RATE}")
        named = (*self.models, *self.tenant_defaults)
        if any(number < 0 for number in (self.running or 0, *(number for _, number in named))):
            raise ValueError("running, models and tenant_defaults must not be negative")


_LUA_MAGIC: Final = re.compile(r"([^a-zA-Z0-9*])")
_STARS: Final = re.compile(r"\*+")  # `.*.*` would match the same, in quadratic time


def lua_pattern(pattern: str) -> str:
    """Return a model pattern as a Lua pattern, for the admission script."""
    return "^" + _STARS.sub(".*", _LUA_MAGIC.sub(r"%\1", pattern)) + "$"
