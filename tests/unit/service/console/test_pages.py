import httpx
import pytest

from core.money import MicroUsd
from core.store.identity import StorePosition
from core.tenants.limits import Limits
from service.tenants.top_ups import TopUpRequest, add_top_up
from tests.support.app import KLING, KLING_INPUT, KLING_PATH, AppHarness
from tests.support.console import Browser, signed_in_tenant

TENANT_PAGES = (
    "/home",
    "/requests",
    "/requests?status=failed&created_after=2025-01-01T10:00",
    "/playground",
    f"/playground/{KLING}",
    "/webhooks",
    "/webhooks?status=failed",
    "/usage",
    "/usage.csv",
    "/keys",
    "/batches",
    "/files",
    "/static/console.css",
)
OPERATOR_PAGES = (
    "/operator",
    "/operator/in-doubt",
    "/operator/tenants",
    "/operator/tenants/video-team",
    "/operator/requests",
    "/operator/usage",
    "/operator/usage?by=tenant",
    "/operator/requests?tenant=video-team",
    "/operator/catalogue",
    "/operator/audit",
    "/operator/audit?verify=1",
    "/operator/operators",
    "/operator/settings",
    "/operator/settings?changed=1",
    "/operator/about",
)


@pytest.mark.parametrize("path", TENANT_PAGES)
async def test_every_page_of_a_tenant_is_served(tenant: Browser, path: str) -> None:
    assert await tenant.page(path)


@pytest.mark.parametrize("path", OPERATOR_PAGES)
@pytest.mark.usefixtures("key")
async def test_every_page_of_an_operator_is_served(operator: Browser, path: str) -> None:
    assert await operator.page(path)


async def test_about_names_the_journal(app: AppHarness, operator: Browser) -> None:
    assert "no worker has used one" in await operator.page("/operator/about")
    app.stores.memory.position = StorePosition("a" * 32, journal_id="b" * 32)
    assert "b" * 32 in await operator.page("/operator/about")


async def test_the_usage_in_total_has_no_table_of_models(tenant: Browser) -> None:
    """Models are counted by day; the empty table read as if nothing had been spent."""
    page = await tenant.page("/usage")
    assert page.count("Nothing yet.") == len(("Today", "This week", "This month"))
    assert "In total" in page


async def test_a_top_up_is_beside_the_limits_that_it_raises(
    app: AppHarness, operator: Browser
) -> None:
    """The limit of 75 USD did not say that it is one of 25, until a day."""
    key = await app.tenant("ape", limits=Limits(usd_per_day=MicroUsd(25_000_000)))
    wanted = {"usd": 50, "until": "2026-03-31", "reason": "a <launch>"}
    await add_top_up(app.resources.admin, "ape", TopUpRequest.model_validate(wanted))
    caller = await signed_in_tenant(app, key)
    for page in (await caller.page("/usage"), await operator.page("/operator/tenants/ape")):
        assert page.count("a top-up of $50.00 until") == 1
        assert "a <launch>" in page  # unescaped by the browser


async def test_the_page_of_an_error_says_when_to_come_again(app: AppHarness) -> None:
    key = await app.tenant("ape", limits=Limits(calls_per_minute=1))
    browser = await signed_in_tenant(app, key)
    pages = [await browser.get("/requests") for _ in range(2)]
    assert pages[-1].status_code == httpx.codes.TOO_MANY_REQUESTS
    assert int(pages[-1].headers["retry-after"]) > 0
    assert "default-src 'none'" in pages[-1].headers["content-security-policy"]


async def test_a_request_is_shown_with_its_input(
    app: AppHarness, key: str, tenant: Browser
) -> None:
    async with app.client(key) as caller:
        request_id = (await caller.post(KLING_PATH, json=KLING_INPUT)).json()["request_id"]
    page = await tenant.page(f"/requests/{request_id}")
    assert KLING_INPUT["prompt"] in page
    assert "in queue" in page
    assert request_id in await tenant.page("/home")


async def test_the_playground_begins_with_the_price_of_what_its_form_shows(
    tenant: Browser,
) -> None:
    page = await tenant.page(f"/playground/{KLING}")
    assert "$1.26" in page
    assert "The price is known once" not in page


async def test_the_price_lists_what_is_missing(tenant: Browser) -> None:
    fields = {"mode": "json", "raw": "{}"}
    page = (await tenant.send(f"/playground-price/{KLING}", fields)).text
    assert "The price is known once the input fits the model:" in page
    assert "<code>/prompt</code>" in page
