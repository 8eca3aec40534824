"""Converts the admission script's quota rows and rejections to `Quota` values and errors."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from core.clock import MILLISECOND
from core.errors import BudgetReached, CallerError, LimitReached, ModelNotAllowed, NotPermitted
from core.quotas import QUOTA_RULES, Quota, QuotaPolicy

BUDGET_POLICIES: Final = frozenset(
    {
        QuotaPolicy.USD_REQUEST,
        QuotaPolicy.USD_DAY,
        QuotaPolicy.USD_WEEK,
        QuotaPolicy.USD_MONTH,
        QuotaPolicy.USD_TOTAL,
        QuotaPolicy.KEY_USD_DAY,
        QuotaPolicy.KEY_USD_MONTH,
        QuotaPolicy.UNKNOWN_PRICE,
        QuotaPolicy.MINIMUM_BALANCE,
        QuotaPolicy.ACCOUNT_BALANCE,
    }
)


_POLICIES: Final[Mapping[bytes, QuotaPolicy]] = {
    policy.value.encode(): policy for policy in QuotaPolicy
}


def build_limit_error(policy: str, retry_after_ms: float, quotas: tuple[Quota, ...]) -> CallerError:
    """Return the error for a reached limit: `retry_after_ms` is negative if retrying is useless."""
    name = QuotaPolicy(policy)
    wait = retry_after_ms * MILLISECOND if retry_after_ms >= 0 else None
    message = QUOTA_RULES[name].message
    if name in {QuotaPolicy.MODELS, QuotaPolicy.KEY_MODELS}:
        return ModelNotAllowed(message, policy=name)
    if name is QuotaPolicy.PRIORITY:
        return NotPermitted(message, policy=name)
    kind = BudgetReached if name in BUDGET_POLICIES else LimitReached
    return kind(message, policy=name, retry_after=wait, quotas=quotas)


def parse_quotas(flat: Sequence[Any]) -> tuple[Quota, ...]:
    """Parse the script's flat list of quotas: policy, limit, remaining, reset (ms) of each."""
    fields = iter(flat)
    return tuple(
        Quota(_POLICIES[name], limit, remaining, reset * MILLISECOND)
        for name, limit, remaining, reset in zip(fields, fields, fields, fields, strict=True)
    )
