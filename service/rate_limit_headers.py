"""How a tenant's limits stand, as `RateLimit` and `RateLimit-Policy` fields. Pure.

After draft-ietf-httpapi-ratelimit-headers-11: lists of structured-field strings with parameters.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from math import ceil
from typing import Final

from core.quotas import Quota, QuotaPolicy

# The largest integer that a structured field holds (RFC 9651, 3.3.1).
_MAX_INTEGER: Final = 999_999_999_999_999
REQUESTS: Final = "requests"
CONCURRENCY: Final = "concurrent-requests"
MONEY: Final = "microdollars"
"""Ours: the draft's registry knows no unit of money."""


@dataclass(frozen=True, slots=True)
class QuotaDefinition:
    """What a policy counts, and over which span; None: not over time, or over a calendar month."""

    unit: str = REQUESTS
    window: timedelta | None = None
    resets: bool = True


QUOTA_DEFINITIONS: Final[Mapping[QuotaPolicy, QuotaDefinition]] = {
    QuotaPolicy.REQUESTS: QuotaDefinition(window=timedelta(minutes=1)),
    QuotaPolicy.WAITING: QuotaDefinition(CONCURRENCY, resets=False),
    QuotaPolicy.RUNNING: QuotaDefinition(CONCURRENCY, resets=False),
    QuotaPolicy.JOBS_DAY: QuotaDefinition(window=timedelta(days=1)),
    QuotaPolicy.JOBS_MONTH: QuotaDefinition(),
    QuotaPolicy.USD_REQUEST: QuotaDefinition(MONEY, resets=False),
    QuotaPolicy.USD_DAY: QuotaDefinition(MONEY, timedelta(days=1)),
    QuotaPolicy.USD_MONTH: QuotaDefinition(MONEY),
}
"""The policies that have a quota; the others only say yes or no."""


def rate_limit_headers(
    quotas: Sequence[Quota], violated_policy: str = "", retry_after: timedelta | None = None
) -> Mapping[str, str]:
    """Both fields for `quotas`; none where there are no limits.

    Of the policy that refused, the effective window ends with `Retry-After`, as the draft asks.
    """
    rules, standings = [], []
    for quota in quotas:
        rule, resets = _policy_item(quota.policy, quota.limit)
        if rule:
            waits = retry_after is not None and quota.policy == violated_policy
            span = retry_after if waits else quota.resets_in
            rules.append(rule)
            standings.append(_limit_item(quota, span if resets else None))
    if not rules:
        return {}
    return {"ratelimit-policy": ", ".join(rules), "ratelimit": ", ".join(standings)}


@lru_cache(maxsize=4096)
def _policy_item(policy: QuotaPolicy, limit: int) -> tuple[str, bool]:
    """The policy's part of `RateLimit-Policy`, and whether it resets; limits change rarely."""
    shape = QUOTA_DEFINITIONS.get(policy)
    if shape is None:
        return "", False
    unit = "" if shape.unit == REQUESTS else f';qu="{shape.unit}"'
    window = "" if shape.window is None else f";w={ceil(shape.window.total_seconds())}"
    return f'"{policy}";q={_clamp(limit)}{unit}{window}', shape.resets


def _limit_item(quota: Quota, resets_in: timedelta | None) -> str:
    until = "" if resets_in is None else f";t={max(0, ceil(resets_in.total_seconds()))}"
    left = quota.remaining if 0 <= quota.remaining <= _MAX_INTEGER else _clamp(quota.remaining)
    return f'"{quota.policy}";r={left}{until}'


def _clamp(value: int) -> int:
    return min(max(value, 0), _MAX_INTEGER)
