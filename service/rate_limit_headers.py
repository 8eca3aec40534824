"""How a tenant's limits stand, as `RateLimit` and `RateLimit-Policy` fields. Pure.

After draft-ietf-httpapi-ratelimit-headers-11: lists of structured-field strings with parameters.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from math import ceil
from typing import Final

from core.quotas import Policy, Quota

# The largest integer that a structured field holds (RFC 9651, 3.3.1).
_MOST: Final = 999_999_999_999_999
REQUESTS: Final = "requests"
CONCURRENCY: Final = "concurrent-requests"
MONEY: Final = "microdollars"
"""Ours: the draft's registry knows no unit of money."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What a policy counts, and over which span; None: not over time, or over a calendar month."""

    unit: str = REQUESTS
    span: timedelta | None = None
    resets: bool = True


SHAPES: Final[Mapping[Policy, Shape]] = {
    Policy.REQUESTS: Shape(span=timedelta(minutes=1)),
    Policy.WAITING: Shape(CONCURRENCY, resets=False),
    Policy.RUNNING: Shape(CONCURRENCY, resets=False),
    Policy.JOBS_DAY: Shape(span=timedelta(days=1)),
    Policy.JOBS_MONTH: Shape(),
    Policy.USD_REQUEST: Shape(MONEY, resets=False),
    Policy.USD_DAY: Shape(MONEY, timedelta(days=1)),
    Policy.USD_MONTH: Shape(MONEY),
}
"""The policies that have a quota; the others only say yes or no."""


def ratelimit_fields(
    quotas: Sequence[Quota], violated: str = "", retry_after: timedelta | None = None
) -> Mapping[str, str]:
    """Both fields for `quotas`; none where there are no limits.

    Of the policy that refused, the effective window ends with `Retry-After`, as the draft asks.
    """
    rules, standings = [], []
    for quota in quotas:
        rule, resets = _rule(quota.policy, quota.limit)
        if rule:
            waits = retry_after is not None and quota.policy == violated
            span = retry_after if waits else quota.resets_in
            rules.append(rule)
            standings.append(_standing(quota, span if resets else None))
    if not rules:
        return {}
    return {"ratelimit-policy": ", ".join(rules), "ratelimit": ", ".join(standings)}


@lru_cache(maxsize=4096)
def _rule(policy: Policy, limit: int) -> tuple[str, bool]:
    """The policy's part of `RateLimit-Policy`, and whether it resets; limits change rarely."""
    shape = SHAPES.get(policy)
    if shape is None:
        return "", False
    unit = "" if shape.unit == REQUESTS else f';qu="{shape.unit}"'
    window = "" if shape.span is None else f";w={ceil(shape.span.total_seconds())}"
    return f'"{policy}";q={_bounded(limit)}{unit}{window}', shape.resets


def _standing(quota: Quota, resets_in: timedelta | None) -> str:
    until = "" if resets_in is None else f";t={max(0, ceil(resets_in.total_seconds()))}"
    left = quota.remaining if 0 <= quota.remaining <= _MOST else _bounded(quota.remaining)
    return f'"{quota.policy}";r={left}{until}'


def _bounded(value: int) -> int:
    return min(max(value, 0), _MOST)
