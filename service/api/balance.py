"""The balance call of RunComfy's account API, for the tenant of the key."""

import asyncio
from typing import Literal

from core.billing.usage import Budget
from core.errors import Unauthenticated, Unavailable
from core.money import MicroUsd, to_usd
from service.http.dependencies import Context, Reader
from service.http.openapi import Tag, problem_responses
from service.http.strict_route import api_router
from service.parsing.request_models import Document

router = api_router(Tag.USAGE)


class Balance(Document):
    """What the tenant can still spend, in RunComfy's fields."""

    balance_usd: float
    balance_microdollars: int
    currency: Literal["USD"]


@router.get(
    "/prod/v2/balance",
    response_model=Balance,
    responses=problem_responses(401, 403, 429, 503),
)
async def balance(reader: Reader, context: Context) -> Balance:
    """Show what the tenant can still spend.

    The least of the RunComfy account's balance and of what the tenant's budgets of the day and the
    month leave. 503 if neither is known.
    """
    tenant = await context.stores.tenants.load(reader)
    if tenant is None:  # deleted in the meantime
        raise Unauthenticated
    account, usage = await asyncio.gather(
        context.admin.stores.admin.load_balance(),
        context.stores.tenants.read_usage(
            tenant.name, Budget.of_tenant(tenant), context.clock.now()
        ),
    )
    known = [one for one in (account.balance, usage.remaining_budget) if one is not None]
    if not known:
        raise Unavailable("The balance is not known: no worker has read it, and no budget is set.")
    least = MicroUsd(max(min(known), 0))
    return Balance(balance_usd=to_usd(least), balance_microdollars=least, currency="USD")
