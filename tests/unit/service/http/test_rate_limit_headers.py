"""Limits for callers: headers of every submit, named refusals, usage."""

import re
from datetime import timedelta

import httpx
import pytest

from core.billing.balance import AccountBalance
from core.billing.usage import Budget, Usage, UsageTotals, WindowUsage
from core.money import MicroUsd
from core.quotas import QUOTA_RULES, Quota, QuotaPolicy
from core.tenants.limits import Limits, Priority, UnknownPrice
from core.tenants.windows import UTC_CALENDAR
from service.rate_limit_headers import rate_limit_headers
from service.tenants.usage import usage_representation
from tests.support.app import KLING, KLING_INPUT, KLING_PATH, AppHarness
from tests.support.clock import START

# One member of the lists, as the draft's grammar has it.
FIELD_MEMBER = re.compile(r'"[a-z-]+"(;[a-z]+=([0-9]{1,15}|"[a-z-]+"))+')


async def caller_with(app: AppHarness, limits: Limits) -> httpx.AsyncClient:
    return app.client(await app.tenant("ads", limits=limits))


def members(field: str) -> list[str]:
    found = field.split(", ")
    assert all(FIELD_MEMBER.fullmatch(member) for member in found), field
    return found


# --- the fields


def test_every_policy_with_a_quota_has_its_shape() -> None:
    never = {
        QuotaPolicy.MODELS,
        QuotaPolicy.KEY_MODELS,
        QuotaPolicy.PRIORITY,
        QuotaPolicy.UNKNOWN_PRICE,
        QuotaPolicy.MINIMUM_BALANCE,
        QuotaPolicy.ACCOUNT_BALANCE,
    }
    assert set(QUOTA_RULES) == set(QuotaPolicy)
    assert {policy for policy, rule in QUOTA_RULES.items() if rule.unit is None} == never


def test_requests_concurrency_and_money_have_their_units() -> None:
    fields = rate_limit_headers(
        (
            Quota(QuotaPolicy.REQUESTS, 60, 59, timedelta(seconds=0.4)),
            Quota(QuotaPolicy.RUNNING, 5, 4, timedelta()),
            Quota(QuotaPolicy.USD_DAY, 25_000_000, 24_370_000, timedelta(hours=9)),
            Quota(QuotaPolicy.JOBS_MONTH, 500, 0, timedelta(days=9)),
        )
    )
    assert members(fields["ratelimit-policy"]) == [
        '"requests-per-minute";q=60;w=60',
        '"running";q=5;qu="concurrent-requests"',
        '"usd-per-day";q=25000000;qu="microdollars";w=86400',
        '"jobs-per-month";q=500',
    ]
    assert members(fields["ratelimit"]) == [
        '"requests-per-minute";r=59;t=1',
        '"running";r=4',
        '"usd-per-day";r=24370000;t=32400',
        '"jobs-per-month";r=0;t=777600',
    ]


def test_no_limits_no_fields() -> None:
    assert rate_limit_headers(()) == {}
    assert rate_limit_headers((Quota(QuotaPolicy.MODELS, 1, 0, timedelta()),)) == {}


def test_figures_fit_into_structured_fields() -> None:
    fields = rate_limit_headers((Quota(QuotaPolicy.USD_DAY, 10**15, -5, timedelta(seconds=-3)),))
    assert fields["ratelimit-policy"].startswith('"usd-per-day";q=999999999999999;')
    assert fields["ratelimit"] == '"usd-per-day";r=0;t=0'


# --- on submits


async def test_an_accepted_submit_tells_how_the_limits_stand(app: AppHarness) -> None:
    limits = Limits(requests_per_minute=60, running=5, usd_per_day=MicroUsd(2_000_000))
    async with await caller_with(app, limits) as caller:
        answer = await caller.post(KLING_PATH, json=KLING_INPUT)
    assert answer.status_code == 202
    policies = members(answer.headers["ratelimit-policy"])
    assert '"usd-per-day";q=2000000;qu="microdollars";w=86400' in policies
    standing = members(answer.headers["ratelimit"])
    assert any(member.startswith('"usd-per-day";r=1370000;t=') for member in standing)


async def test_a_tenant_without_limits_gets_no_fields(caller: httpx.AsyncClient) -> None:
    answer = await caller.post(KLING_PATH, json=KLING_INPUT)
    assert "ratelimit" not in answer.headers


OTHER_INPUT = KLING_INPUT | {"prompt": "Another one."}
REFUSALS = [
    (Limits(requests_per_minute=1), 429, "limit_reached", "requests-per-minute"),
    (Limits(jobs_per_day=1), 429, "limit_reached", "jobs-per-day"),
    (Limits(jobs_per_month=1), 429, "limit_reached", "jobs-per-month"),
    (Limits(running=1, waiting=0), 429, "limit_reached", "waiting"),
    (Limits(usd_per_day=MicroUsd(1_259_999)), 402, "budget_reached", "usd-per-day"),
    (Limits(usd_per_month=MicroUsd(1_259_999)), 402, "budget_reached", "usd-per-month"),
]


@pytest.mark.parametrize(("limits", "status", "code", "policy"), REFUSALS)
async def test_the_second_submit_is_refused_by_name(
    app: AppHarness, limits: Limits, status: int, code: str, policy: str
) -> None:
    async with await caller_with(app, limits) as caller:
        first = await caller.post(KLING_PATH, json=KLING_INPUT)
        answer = await caller.post(KLING_PATH, json=OTHER_INPUT)
    problem = answer.json()
    assert first.status_code == 202
    assert (answer.status_code, problem["code"]) == (status, code)
    assert problem["violated-policies"] == [policy]
    assert problem["billed"] == "no"
    assert int(answer.headers["retry-after"]) > 0
    assert any(m.startswith(f'"{policy}";r=') for m in members(answer.headers["ratelimit"]))
    assert len(app.stores.memory.all_jobs()) == 1


async def test_the_window_of_what_refused_ends_with_retry_after(app: AppHarness) -> None:
    async with await caller_with(app, Limits(requests_per_minute=6, burst=1)) as caller:
        await caller.post(KLING_PATH, json=KLING_INPUT)
        answer = await caller.post(KLING_PATH, json=KLING_INPUT)
    assert answer.headers["retry-after"] == "10"
    assert answer.headers["ratelimit"] == '"requests-per-minute";r=0;t=10'


async def test_a_request_above_its_ceiling_is_402_and_no_waiting_helps(app: AppHarness) -> None:
    limits = Limits(usd_per_request=MicroUsd(500_000))
    async with await caller_with(app, limits) as caller:
        answer = await caller.post(KLING_PATH, json=KLING_INPUT)
    assert answer.status_code == 402
    assert answer.json()["violated-policies"] == ["usd-per-request"]
    assert "retry-after" not in answer.headers
    assert not answer.json()["retryable"]


async def test_an_unknown_price_is_refused_where_the_tenant_says_so(app: AppHarness) -> None:
    limits = Limits(unknown_price=UnknownPrice.REFUSE)
    app.list_models({"model_id": "some/model"})
    async with await caller_with(app, limits) as caller:
        answer = await caller.post("/v1/models/some/model", json={})
    assert (answer.status_code, answer.json()["code"]) == (402, "budget_reached")


async def test_a_model_that_is_not_allowed_is_403(app: AppHarness) -> None:
    async with await caller_with(app, Limits(models=("flux/*",))) as caller:
        answer = await caller.post(KLING_PATH, json=KLING_INPUT)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (403, "model_not_allowed")
    assert problem["violated-policies"] == ["models"]


async def test_too_high_a_priority_is_403(app: AppHarness) -> None:
    async with await caller_with(app, Limits(priority=Priority.NORMAL)) as caller:
        answer = await caller.post(f"{KLING_PATH}?priority=high", json=KLING_INPUT)
        assert (answer.status_code, answer.json()["code"]) == (403, "not_permitted")
        assert answer.json()["violated-policies"] == ["priority"]
        assert (await caller.post(KLING_PATH, json=KLING_INPUT)).status_code == 202


async def test_an_empty_wallet_refuses_before_anything_queues(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    await app.stores.admin.set_minimum_balance(MicroUsd(20_000_000))
    await app.stores.admin.store_balance(AccountBalance(MicroUsd(19_999_999), app.clock.now()))
    answer = await caller.post(KLING_PATH, json=KLING_INPUT)
    assert (answer.status_code, answer.json()["violated-policies"]) == (402, ["wallet"])
    assert app.stores.memory.all_jobs() == []


async def test_a_price_above_the_known_balance_is_402_and_others_pass(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    short, covered = KLING_INPUT | {"duration": 10}, KLING_INPUT | {"duration": 3}
    await app.stores.admin.store_balance(AccountBalance(MicroUsd(400_000), app.clock.now()))
    answer = await caller.post(KLING_PATH, json=short)
    assert (answer.status_code, answer.json()["violated-policies"]) == (402, ["account-balance"])
    assert (await caller.post(KLING_PATH, json=covered)).status_code == 202
    app.clock.move(timedelta(minutes=11))  # by now it may have been topped up
    await app.stores.heartbeats.record("w1")
    assert (await caller.post(KLING_PATH, json=short)).status_code == 202


# --- use


async def test_a_tenant_sees_its_own_use(app: AppHarness) -> None:
    limits = Limits(jobs_per_day=50, usd_per_day=MicroUsd(2_000_000), running=1)
    async with await caller_with(app, limits) as caller:
        for value in (KLING_INPUT, OTHER_INPUT):
            await caller.post(KLING_PATH, json=value)
        use = (await caller.get("/v1/usage")).json()
    day, week, month, total = use["windows"]
    assert (day["window"], day["resets_at"]) == ("day", "2026-03-02T00:00:00Z")
    assert (month["window"], month["resets_at"]) == ("month", "2026-04-01T00:00:00Z")
    assert day["jobs"] == {"used": 2, "limit": 50, "remaining": 48}
    assert day["usd"] == {
        "used": 1.26,
        "settled": 0.0,
        "reserved": 1.26,
        "limit": 2.0,
        "remaining": 0.74,
    }
    assert day["models"][KLING]["jobs"] == 2
    assert (use["running"]["used"], use["waiting"]["used"]) == (1, 1)
    assert month["usd"]["limit"] is None
    assert (week["window"], week["resets_at"]) == ("week", "2026-03-02T00:00:00Z")
    assert (total["window"], total["resets_at"], total["jobs"]["used"]) == ("total", None, 2)


async def test_another_tenant_s_use_stays_its_own(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    async with await caller_with(app, Limits()) as other:
        await other.post(KLING_PATH, json=KLING_INPUT)
    assert (await caller.get("/v1/usage")).json()["windows"][0]["jobs"]["used"] == 0


async def test_use_needs_a_key(app: AppHarness) -> None:
    async with app.client() as nobody:
        assert (await nobody.get("/v1/usage")).status_code == 401


def test_a_lowered_limit_leaves_nothing_and_micro_dollars_show() -> None:
    total = UsageTotals(3, reserved=3_000_001, settled=1_000_001, released=500_000)
    windows = UTC_CALENDAR.windows_at(START)
    usage = Usage(
        Budget(Limits(usd_per_day=MicroUsd(1), jobs_per_day=1, running=1)),
        tuple(WindowUsage(window, total, {}) for window in windows),
        running=3,
        waiting=0,
        at=START,
        past={},
    )
    document = usage_representation("ads", usage, START)
    window = document["windows"][0]
    assert document["running"] == {"used": 3, "limit": 1, "remaining": 0}
    assert window["jobs"]["remaining"] == 0
    assert window["usd"] == {
        "used": 2.500001,
        "settled": 1.000001,
        "reserved": 1.5,
        "limit": 0.000001,
        "remaining": 0.0,
    }
