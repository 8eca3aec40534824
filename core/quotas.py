"""The limits that a submit can meet, by name: what each counts, and how much is left of it.

They are a tenant's, a key's and the account's. What a tenant's limits are set to is in
`core.tenants.limits`; this module is below it because the errors of refused submits carry quotas.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final, NamedTuple


class QuotaPolicy(StrEnum):
    """The limits, by their names in problem documents and in `RateLimit` headers."""

    REQUESTS = "requests-per-minute"
    CALLS = "calls-per-minute"
    WEBHOOK_ACTIONS = "webhook-actions-per-minute"
    STORED_BYTES = "stored-bytes"
    STORAGE_BYTES = "storage-bytes"
    UPLOAD_BYTES_DAY = "upload-bytes-per-day"
    WAITING = "waiting"
    JOBS_DAY = "jobs-per-day"
    JOBS_MONTH = "jobs-per-month"
    USD_REQUEST = "usd-per-request"
    USD_DAY = "usd-per-day"
    USD_WEEK = "usd-per-week"
    USD_MONTH = "usd-per-month"
    USD_TOTAL = "usd-total"
    MODELS = "models"
    KEY_MODELS = "key-models"
    KEY_USD_DAY = "key-usd-per-day"
    KEY_USD_MONTH = "key-usd-per-month"
    PRIORITY = "priority"
    UNKNOWN_PRICE = "unknown-price"
    RUNNING = "running"
    MINIMUM_BALANCE = "wallet"
    ACCOUNT_BALANCE = "account-balance"


class CallRate(StrEnum):
    """The rates of calls that are no submits: a policy each."""

    CALLS = QuotaPolicy.CALLS
    WEBHOOK_ACTIONS = QuotaPolicy.WEBHOOK_ACTIONS
    """Calls that each cause many events; they count as calls, too."""


REQUESTS: Final = "requests"
CONCURRENCY: Final = "concurrent-requests"
BYTES: Final = "content-bytes"
MONEY: Final = "microdollars"
"""The gateway's own unit: draft-ietf-httpapi-ratelimit-headers has no unit of money."""


@dataclass(frozen=True, slots=True)
class QuotaRule:
    """What a limit counts, and what a caller reads when it rejects a submit.

    `unit` None: the limit only permits or rejects, and has no quota. `window` None: it is not over
    time, or over a calendar month. `resets`: the quota is restored when the window ends.
    """

    message: str
    unit: str | None = None
    window: timedelta | None = None
    resets: bool = True


QUOTA_RULES: Final[Mapping[QuotaPolicy, QuotaRule]] = {
    QuotaPolicy.REQUESTS: QuotaRule(
        "The tenant's submits per minute are used up.", REQUESTS, timedelta(minutes=1)
    ),
    QuotaPolicy.CALLS: QuotaRule(
        "The tenant's calls per minute that are no submits are used up.",
        REQUESTS,
        timedelta(minutes=1),
    ),
    QuotaPolicy.WEBHOOK_ACTIONS: QuotaRule(
        "The tenant's test events, resends and replays per minute are used up.",
        REQUESTS,
        timedelta(minutes=1),
    ),
    QuotaPolicy.STORED_BYTES: QuotaRule(
        "The tenant's stored inputs and outputs are at their limit (`stored_bytes`); delete "
        "requests, or wait until some expire.",
        BYTES,
        resets=False,
    ),
    QuotaPolicy.STORAGE_BYTES: QuotaRule(
        "The tenant's stored files are at their limit (`storage_bytes`); delete files or requests "
        "with kept outputs, or wait until some expire.",
        BYTES,
        resets=False,
    ),
    QuotaPolicy.UPLOAD_BYTES_DAY: QuotaRule(
        "The tenant's uploaded bytes of this day (UTC) are used up.", BYTES, timedelta(days=1)
    ),
    QuotaPolicy.WAITING: QuotaRule(
        "The tenant's queue is full (limit: `waiting`).", CONCURRENCY, resets=False
    ),
    QuotaPolicy.RUNNING: QuotaRule(
        "The tenant's running jobs are at their limit.", CONCURRENCY, resets=False
    ),
    QuotaPolicy.JOBS_DAY: QuotaRule(
        "The tenant's jobs of this day are used up.", REQUESTS, timedelta(days=1)
    ),
    QuotaPolicy.JOBS_MONTH: QuotaRule("The tenant's jobs of this month are used up.", REQUESTS),
    QuotaPolicy.USD_REQUEST: QuotaRule(
        "The request's estimate is above the tenant's limit for one request.", MONEY, resets=False
    ),
    QuotaPolicy.USD_DAY: QuotaRule(
        "The tenant's budget of this day does not cover the request.",
        MONEY,
        timedelta(days=1),
    ),
    QuotaPolicy.USD_WEEK: QuotaRule(
        "The tenant's budget of this week does not cover the request.", MONEY, timedelta(days=7)
    ),
    QuotaPolicy.USD_MONTH: QuotaRule(
        "The tenant's budget of this month does not cover the request.", MONEY
    ),
    QuotaPolicy.USD_TOTAL: QuotaRule(
        "The tenant's budget does not cover the request.", MONEY, resets=False
    ),
    QuotaPolicy.MODELS: QuotaRule("The tenant may not use this model."),
    QuotaPolicy.KEY_MODELS: QuotaRule("This key may not use this model."),
    QuotaPolicy.KEY_USD_DAY: QuotaRule(
        "The key's budget of this day does not cover the request.", MONEY, timedelta(days=1)
    ),
    QuotaPolicy.KEY_USD_MONTH: QuotaRule(
        "The key's budget of this month does not cover the request.", MONEY
    ),
    QuotaPolicy.PRIORITY: QuotaRule("The tenant may not use so high a priority."),
    QuotaPolicy.UNKNOWN_PRICE: QuotaRule(
        "The request's price is not known, and a limit of the tenant's or the key's money needs it."
    ),
    QuotaPolicy.MINIMUM_BALANCE: QuotaRule(
        "The gateway's RunComfy balance is too low for new jobs."
    ),
    QuotaPolicy.ACCOUNT_BALANCE: QuotaRule(
        "The gateway's RunComfy balance does not cover the request's estimate."
    ),
}
"""A row for each limit. `RUNNING` never rejects: a job beyond it waits."""


class Quota(NamedTuple):
    """One limit after an admission decision. Money is in micro-dollars.

    A named tuple: each answer to a submit has eight of them, and creating a frozen dataclass takes
    three times as long.
    """

    policy: QuotaPolicy
    limit: int
    remaining: int
    resets_in: timedelta
