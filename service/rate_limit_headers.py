"""How a tenant's limits stand, as `RateLimit` and `RateLimit-Policy` fields. Pure.

After draft-ietf-httpapi-ratelimit-headers-11: lists of structured-field strings with parameters.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import lru_cache
from math import ceil
from typing import Final

from core.quotas import QUOTA_RULES, REQUESTS, Quota, QuotaPolicy

# The largest integer that a structured field holds (RFC 9651, 3.3.1).
_MAX_INTEGER: Final = 999_999_999_999_999


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
    rule = QUOTA_RULES[policy]
    if rule.unit is None:
        return "", False
    # "requests" is the draft's default unit.
    unit = "" if rule.unit == REQUESTS else f';qu="{rule.unit}"'
    window = "" if rule.window is None else f";w={ceil(rule.window.total_seconds())}"
    return f'"{policy}";q={_clamp(limit)}{unit}{window}', rule.resets


def _limit_item(quota: Quota, resets_in: timedelta | None) -> str:
    until = "" if resets_in is None else f";t={max(0, ceil(resets_in.total_seconds()))}"
    left = quota.remaining if 0 <= quota.remaining <= _MAX_INTEGER else _clamp(quota.remaining)
    return f'"{quota.policy}";r={left}{until}'


def _clamp(value: int) -> int:
    return min(max(value, 0), _MAX_INTEGER)
