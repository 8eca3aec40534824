"""The balance call of RunComfy's account API."""

from datetime import timedelta

import httpx
import pytest

from core.billing.balance import AccountBalance
from core.money import MicroUsd
from core.tenants.limits import Limits
from tests.support.app import KLING_INPUT, KLING_PATH, AppHarness

PATH = "/prod/v2/balance"


@pytest.mark.parametrize(
    ("account", "per_day", "per_month", "microdollars"),
    [
        (5_000_000, None, None, 5_000_000),
        (5_000_000, 2_000_000, None, 1_370_000),
        (1_000_000, 2_000_000, 9_000_000, 1_000_000),
        (None, 2_000_000, 1_000_000, 370_000),
        (None, None, 9_000_000, 8_370_000),
        (5_000_000, 630_000, None, 0),
        (0, 2_000_000, None, 0),
    ],
)
async def test_it_is_the_least_of_the_account_and_of_what_the_budgets_leave(
    app: AppHarness,
    account: int | None,
    per_day: int | None,
    per_month: int | None,
    microdollars: int,
) -> None:
    day, month = (None if one is None else MicroUsd(one) for one in (per_day, per_month))
    key = await app.tenant("spender", limits=Limits(usd_per_day=day, usd_per_month=month))
    async with app.client(key) as caller:
        assert (await caller.post(KLING_PATH, json=KLING_INPUT)).status_code == 202
        if account is not None:
            balance = AccountBalance(MicroUsd(account), app.clock.now())
            await app.stores.admin.store_balance(balance)
        answer = await caller.get(PATH)
    assert answer.json() == {
        "balance_usd": microdollars / 1_000_000,
        "balance_microdollars": microdollars,
        "currency": "USD",
    }


async def test_a_new_day_has_its_budget_again(app: AppHarness) -> None:
    key = await app.tenant("spender", limits=Limits(usd_per_day=MicroUsd(1_000_000)))
    async with app.client(key) as caller:
        await caller.post(KLING_PATH, json=KLING_INPUT)
        await app.clock.advance(timedelta(days=1))
        assert (await caller.get(PATH)).json()["balance_usd"] == 1.0


async def test_what_is_not_known_is_503(caller: httpx.AsyncClient) -> None:
    answer = await caller.get(PATH)
    assert (answer.status_code, answer.json()["retryable"]) == (503, True)


async def test_it_is_for_key_holders(app: AppHarness) -> None:
    async with app.client() as nobody:
        assert (await nobody.get(PATH)).status_code == 401
