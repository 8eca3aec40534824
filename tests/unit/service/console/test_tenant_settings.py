"""Settings of a tenant in the operator's forms."""

import pytest

from core.tenants.limits import GlobalLimits
from service.console.schema_form import parse_setting
from service.tenants.settings import TenantSettings
from tests.support.app import AppHarness
from tests.support.console import Browser

SCHEMA = TenantSettings.model_json_schema()["properties"]


@pytest.mark.parametrize("name", SCHEMA)
@pytest.mark.parametrize("text", ["", "1"])
def test_every_setting_has_a_value_for_a_text(name: str, text: str) -> None:
    is_json = SCHEMA[name].get("type") in ["array", "object"]
    parse_setting(text and ("[]" if is_json else text), SCHEMA[name])


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [("usd_per_day", "12.50", 12.5), ("usd_per_day", "", None), ("running", "3", 3)],
)
def test_amounts_and_counts_are_numbers(name: str, text: str, value: float | None) -> None:
    assert parse_setting(text, SCHEMA[name]) == value


async def test_a_tenant_is_created_and_changed_with_budgets(
    operator: Browser,
) -> None:
    budgets = {"usd_per_day": "12.50", "usd_per_month": "", "running": "3", "webhook": ""}
    made = await operator.change("/operator/tenants", {"tenant": "new-team", **budgets})
    assert "rcg_new-team_" in made.text
    await operator.change("/operator/tenants/new-team", {"usd_per_week": "50"})
    page = await operator.page("/operator/tenants/new-team")
    assert "12.5" in page
    assert 'name="usd_per_week" value="50' in page


async def test_a_tenant_without_limits_gets_those_of_new_tenants(
    operator: Browser, app: AppHarness
) -> None:
    defaults = (("running", 4), ("usd_per_day", 25_000_000))
    await app.resources.stores.admin.set_limits(GlobalLimits(tenant_defaults=defaults))
    assert 'placeholder="25.0"' in await operator.page("/operator/tenants")
    await operator.change("/operator/tenants", {"tenant": "new-team", "usd_per_day": ""})
    page = await operator.page("/operator/tenants/new-team")
    assert 'name="usd_per_day" value="25' in page
    assert 'name="running" value="4"' in page


async def test_a_form_takes_back_no_change_that_was_made_meanwhile(operator: Browser) -> None:
    await operator.change("/operator/tenants", {"tenant": "new-team", "usd_per_day": "50"})
    await operator.change("/operator/tenants/new-team", {"usd_per_day": "5"})
    opened_before = {
        "was.usd_per_day": "50",
        "usd_per_day": "50",
        "was.running": "",
        "running": "3",
    }
    await operator.change("/operator/tenants/new-team", opened_before)
    page = await operator.page("/operator/tenants/new-team")
    assert 'name="usd_per_day" value="5' in page
    assert 'name="usd_per_day" value="50' not in page
    assert 'name="running" value="3"' in page
