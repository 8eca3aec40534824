"""The names of a tenant's limits, and how much of each is left."""

from datetime import timedelta
from enum import StrEnum
from typing import NamedTuple


class QuotaPolicy(StrEnum):
    """The limits, by their names in problem documents and in `RateLimit` headers."""

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
    MINIMUM_BALANCE = "wallet"


class Quota(NamedTuple):
    """One limit after an admission decision. Money is in micro-dollars.

    A named tuple: each answer to a submit has eight of them, and creating a frozen dataclass takes
    three times as long.
    """

    policy: QuotaPolicy
    limit: int
    remaining: int
    resets_in: timedelta
