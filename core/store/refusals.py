"""What the admission script says about limits, as values and errors."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from core.clock import MILLISECOND
from core.errors import BudgetReached, CallerError, LimitReached, ModelNotAllowed, NotPermitted
from core.quotas import Policy, Quota

_SENTENCES: Final[Mapping[Policy, str]] = {
    Policy.REQUESTS: "The tenant's submits per minute are used up.",
    Policy.WAITING: "As many of the tenant's jobs wait as may.",
    Policy.JOBS_DAY: "The tenant's jobs of this day (UTC) are used up.",
    Policy.JOBS_MONTH: "The tenant's jobs of this month (UTC) are used up.",
    Policy.USD_REQUEST: "The request is estimated above what one request of the tenant may cost.",
    Policy.USD_DAY: "The tenant's budget of this day (UTC) does not cover the request.",
    Policy.USD_MONTH: "The tenant's budget of this month (UTC) does not cover the request.",
    Policy.MODELS: "The tenant may not use this model.",
    Policy.PRIORITY: "The tenant may not ask for so high a priority.",
    Policy.UNKNOWN_PRICE: "The model's price is not known, and the tenant pays known prices only.",
    Policy.WALLET: "The gateway's RunComfy balance is too low for new jobs.",
}

BUDGETS: Final = frozenset(
    {Policy.USD_REQUEST, Policy.USD_DAY, Policy.USD_MONTH, Policy.UNKNOWN_PRICE, Policy.WALLET}
)


_POLICIES: Final[Mapping[bytes, Policy]] = {policy.value.encode(): policy for policy in Policy}


def refusal(policy: str, retry_after_ms: float, quotas: tuple[Quota, ...]) -> CallerError:
    """The error that tells a caller which limit said no, and when it may say yes."""
    name = Policy(policy)
    wait = retry_after_ms * MILLISECOND if retry_after_ms >= 0 else None
    sentence = _SENTENCES[name]
    if name is Policy.MODELS:
        return ModelNotAllowed(sentence, policy=name)
    if name is Policy.PRIORITY:
        return NotPermitted(sentence, policy=name)
    kind = BudgetReached if name in BUDGETS else LimitReached
    return kind(sentence, policy=name, retry_after=wait, quotas=quotas)


def read_quotas(flat: Sequence[Any]) -> tuple[Quota, ...]:
    """The script's rows, four fields each: a name, two numbers, and milliseconds."""
    fields = iter(flat)
    return tuple(
        Quota(_POLICIES[name], limit, remaining, reset * MILLISECOND)
        for name, limit, remaining, reset in zip(fields, fields, fields, fields, strict=True)
    )
