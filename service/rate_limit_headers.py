"""A tenant's quotas as `RateLimit` and `RateLimit-Policy` headers. Pure.

Source: draft-ietf-httpapi-ratelimit-headers-11 (lists of structured-field strings with parameters).
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
    """Return both headers, or none for a tenant without limits.

    For the policy that refused, the window ends with `Retry-After`, as the draft requires.
    """
    policies, limits = [], []
    for quota in quotas:
        policy, resets = _policy_item(quota.policy, quota.limit)
        if policy:
            violated = retry_after is not None and quota.policy == violated_policy
            resets_in = retry_after if violated else quota.resets_in
            policies.append(policy)
            limits.append(_limit_item(quota, resets_in if resets else None))
    if not policies:
        return {}
    return {"ratelimit-policy": ", ".join(policies), "ratelimit": ", ".join(limits)}


@lru_cache(maxsize=4096)
def _policy_item(policy: QuotaPolicy, limit: int) -> tuple[str, bool]:
    """Return the policy's item of `RateLimit-Policy`, and whether it resets.

    Cached: every submit of a tenant has the same items, until its limits are changed.
    """
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
