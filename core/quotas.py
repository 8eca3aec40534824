"""The limits a tenant can run into, and how much of each is left."""

from datetime import timedelta
from enum import StrEnum
from typing import NamedTuple


class QuotaPolicy(StrEnum):
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
    MINIMUM_BALANCE = "wallet"


class Quota(NamedTuple):
    """How one limit stands after a decision. Money is in micro-dollars.

    A tuple: each submit is answered with eight, and frozen dataclasses take three times as long.
    """

    policy: QuotaPolicy
    limit: int
    remaining: int
    resets_in: timedelta
