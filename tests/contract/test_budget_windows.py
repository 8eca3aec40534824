"""Budgets of a week and in total, in the tenant's time zone, and top-ups."""

from datetime import UTC, datetime, timedelta

import pytest

from core.errors import BudgetReached
from core.money import MicroUsd
from core.quotas import QuotaPolicy
from core.tenants.limits import Limits
from core.tenants.top_ups import TopUp
from core.tenants.windows import UTC_CALENDAR, AccountingCalendar, Window
from tests.support.store_harness import PRICE, StoreHarness

DAY = timedelta(days=1)
ROME = AccountingCalendar("Europe/Rome")
ONE = MicroUsd(PRICE)


async def _refused(harness: StoreHarness) -> BudgetReached:
    with pytest.raises(BudgetReached) as refused:
        await harness.submit("ape")
    return refused.value


def _top_up(harness: StoreHarness, amount: int, days: int, *windows: Window) -> TopUp:
    now = harness.clock.now()
    today = UTC_CALENDAR.day_of(now)
    until = UTC_CALENDAR.start_of(today + (days + 1) * DAY)
    return TopUp(MicroUsd(amount), windows, now, until, today, today + days * DAY, "more")


async def test_a_week_begins_on_monday(harness: StoreHarness) -> None:
    await harness.tenant("ape", Limits(usd_per_week=ONE))
    harness.clock.set(datetime(2026, 11, 29, 23, 0, tzinfo=UTC))
    await harness.submit("ape")
    refused = await _refused(harness)
    assert (refused.policy, refused.retry_after) == (QuotaPolicy.USD_WEEK, timedelta(hours=1))
    harness.clock.shift(timedelta(hours=1))
    await harness.submit("ape")


async def test_a_total_never_resets(harness: StoreHarness) -> None:
    await harness.tenant("ape", Limits(usd_total=ONE))
    await harness.submit("ape")
    for _ in range(3):
        harness.clock.shift(100 * DAY)
        refused = await _refused(harness)
        assert (refused.policy, refused.retry_after) == (QuotaPolicy.USD_TOTAL, None)


@pytest.mark.parametrize(
    ("before", "hours", "limits"),
    [
        (datetime(2026, 7, 14, 21, 30, tzinfo=UTC), 1, Limits(usd_per_day=ONE)),
        # The day on which the clock goes back has 25 hours.
        (datetime(2026, 10, 24, 22, 30, tzinfo=UTC), 25, Limits(usd_per_day=ONE)),
        (datetime(2026, 3, 28, 23, 30, tzinfo=UTC), 23, Limits(usd_per_day=ONE)),
        (datetime(2026, 10, 31, 22, 30, tzinfo=UTC), 1, Limits(usd_per_month=ONE)),
        (datetime(2028, 2, 28, 23, 30, tzinfo=UTC), 24, Limits(usd_per_month=ONE)),
    ],
)
async def test_windows_end_by_the_tenants_clock(
    harness: StoreHarness, before: datetime, hours: int, limits: Limits
) -> None:
    await harness.tenant("ape", limits, calendar=ROME)
    harness.clock.set(before)
    await harness.submit("ape")
    assert (await _refused(harness)).retry_after is not None
    harness.clock.set(before + timedelta(hours=hours) - timedelta(minutes=31))
    if hours > 1:
        await _refused(harness)
    harness.clock.set(before + timedelta(hours=hours))
    await harness.submit("ape")


async def test_a_top_up_raises_a_budget_and_its_quota(harness: StoreHarness) -> None:
    await harness.tenant("ape", Limits(usd_per_day=ONE, usd_per_month=MicroUsd(5 * PRICE)))
    await harness.submit("ape")
    await _refused(harness)
    added = _top_up(harness, PRICE, 3, Window.DAY)
    await harness.change_tenant("ape", top_ups=(added,))
    result = await harness.admit(harness.job("ape"))
    quotas = {quota.policy: (quota.limit, quota.remaining) for quota in result.quotas}
    assert quotas[QuotaPolicy.USD_DAY] == (2 * PRICE, 0)
    assert (await _refused(harness)).policy is QuotaPolicy.USD_DAY


async def test_a_top_up_is_spent_once(harness: StoreHarness) -> None:
    await harness.tenant("ape", Limits(usd_per_day=ONE))
    await harness.change_tenant("ape", top_ups=(_top_up(harness, PRICE, 10, Window.DAY),))
    jobs = [await harness.submit("ape") for _ in range(2)]
    await _refused(harness)
    harness.clock.shift(DAY)
    await harness.submit("ape")
    await _refused(harness)
    # What is released is there again, in the next window too.
    await harness.cancel(jobs[0].id)
    await harness.submit("ape")
    await _refused(harness)


async def test_a_top_up_ends(harness: StoreHarness) -> None:
    await harness.tenant("ape", Limits(usd_per_month=ONE, usd_total=MicroUsd(9 * PRICE)))
    harness.clock.set(datetime(2026, 3, 1, 12, tzinfo=UTC))
    both = Window.MONTH, Window.TOTAL
    await harness.change_tenant("ape", top_ups=(_top_up(harness, PRICE, 1, *both),))
    await harness.submit("ape")
    harness.clock.shift(2 * DAY)
    assert (await _refused(harness)).policy is QuotaPolicy.USD_MONTH


async def test_what_a_long_top_up_needs_is_kept(harness: StoreHarness) -> None:
    await harness.tenant("ape", Limits(usd_per_day=ONE))
    await harness.change_tenant("ape", top_ups=(_top_up(harness, PRICE, 200, Window.DAY),))
    for _ in range(2):
        await harness.submit("ape")
    for _ in range(2):
        harness.clock.shift(80 * DAY)
        await harness.submit("ape")
        await _refused(harness)


async def test_usage_shows_the_budgets_with_their_top_ups(harness: StoreHarness) -> None:
    await harness.tenant("ape", Limits(usd_per_day=ONE))
    await harness.change_tenant("ape", top_ups=(_top_up(harness, 7, 2, Window.DAY),))
    await harness.submit("ape")
    tenant = await harness.tenants.load("ape")
    assert tenant is not None
    usage = await harness.usage_of_tenant(tenant)
    assert usage.budget_of(usage.windows[0].window) == PRICE + 7
    assert usage.remaining_budget == 7
