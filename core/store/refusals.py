"""What the admission script says about limits, as values and errors."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from core.clock import MILLISECOND
from core.errors import BudgetReached, CallerError, LimitReached, ModelNotAllowed, NotPermitted
from core.quotas import QUOTA_RULES, Quota, QuotaPolicy

BUDGET_POLICIES: Final = frozenset(
    {
        QuotaPolicy.USD_REQUEST,
        QuotaPolicy.USD_DAY,
        QuotaPolicy.USD_MONTH,
        QuotaPolicy.UNKNOWN_PRICE,
        QuotaPolicy.MINIMUM_BALANCE,
    }
)


_POLICIES: Final[Mapping[bytes, QuotaPolicy]] = {
    policy.value.encode(): policy for policy in QuotaPolicy
}


def build_limit_error(policy: str, retry_after_ms: float, quotas: tuple[Quota, ...]) -> CallerError:
    """The error that tells a caller which limit said no, and when it may say yes."""
    name = QuotaPolicy(policy)
    wait = retry_after_ms * MILLISECOND if retry_after_ms >= 0 else None
    sentence = QUOTA_RULES[name].message
    if name is QuotaPolicy.MODELS:
        return ModelNotAllowed(sentence, policy=name)
    if name is QuotaPolicy.PRIORITY:
        return NotPermitted(sentence, policy=name)
    kind = BudgetReached if name in BUDGET_POLICIES else LimitReached
    return kind(sentence, policy=name, retry_after=wait, quotas=quotas)


def parse_quotas(flat: Sequence[Any]) -> tuple[Quota, ...]:
    """The script's rows, four fields each: a name, two numbers, and milliseconds."""
    fields = iter(flat)
    return tuple(
        Quota(_POLICIES[name], limit, remaining, reset * MILLISECOND)
        for name, limit, remaining, reset in zip(fields, fields, fields, fields, strict=True)
    )
