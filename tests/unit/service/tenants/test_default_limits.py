"""The limits of tenants that are created without limits of their own."""

from typing import Any

import pytest

from core.errors import InvalidInput
from core.tenants.limits import DEFAULTABLE_LIMITS, GlobalLimits, Limits
from service.admin.limits_and_pauses import (
    LimitChanges,
    change_limits,
    limits_representation,
    load_limits,
)
from service.operator_context import AdminContext
from service.parsing.request_models import parse_model
from service.tenants.settings import LimitSettings, TenantSettings
from service.tenants.tenants import NewTenant, create_tenant, load_tenant
from tests.support.app import AppHarness


@pytest.fixture
def admin(app: AppHarness) -> AdminContext:
    """The operator's context over empty stores."""
    return app.resources.admin


async def set_defaults(admin: AdminContext, **limits: Any) -> None:  # noqa: ANN401 - JSON values
    await change_limits(admin, parse_model(LimitChanges, {"default_limits": limits}))


async def create(admin: AdminContext, name: str, **settings: Any) -> NewTenant:  # noqa: ANN401 - JSON values
    return await create_tenant(admin, name, parse_model(TenantSettings, settings))


def test_each_limit_that_is_none_for_a_new_tenant_can_have_a_default() -> None:
    assert set(LimitSettings.model_fields) == set(DEFAULTABLE_LIMITS)
    assert all(getattr(Limits(), name) is None for name in DEFAULTABLE_LIMITS)


async def test_a_tenant_without_limits_takes_those_of_new_tenants(admin: AdminContext) -> None:
    await set_defaults(admin, usd_per_day="25.000001", running=5)
    made = await create(admin, "ads")
    limits = (await load_tenant(admin, "ads")).limits
    assert (limits.usd_per_day, limits.running, limits.usd_per_month) == (25_000_001, 5, None)
    assert made.defaults_taken == ("running", "usd_per_day")
    (entry,) = await admin.stores.audit.list_entries(1)
    assert "usd_per_day: none -> 25.000001" in entry.change


async def test_a_limit_of_its_own_counts_before_the_default_and_null_is_no_limit(
    admin: AdminContext,
) -> None:
    await set_defaults(admin, usd_per_day=25, running=5)
    made = await create(admin, "ads", usd_per_day=400, running=None)
    limits = made.details.tenant.limits
    assert (limits.usd_per_day, limits.running) == (400_000_000, None)
    assert made.defaults_taken == ()


async def test_defaults_change_one_by_one_and_no_tenant_that_there_is(
    admin: AdminContext,
) -> None:
    await set_defaults(admin, usd_per_day=25, running=5)
    await create(admin, "ads")
    await set_defaults(admin, running=None, waiting=7)
    shown = limits_representation(await load_limits(admin))
    assert shown["default_limits"] == {"usd_per_day": 25.0, "waiting": 7}
    assert (await load_tenant(admin, "ads")).limits.running == 5


async def test_a_default_that_another_release_has_set_is_kept_and_not_taken(
    admin: AdminContext,
) -> None:
    other = GlobalLimits(tenant_defaults=(("pigeons_per_day", 3),))
    await admin.stores.admin.set_limits(other)
    await set_defaults(admin, running=5)
    assert (await create(admin, "ads")).defaults_taken == ("running",)
    held = await admin.stores.admin.load_limits()
    assert held.tenant_defaults == (("pigeons_per_day", 3), ("running", 5))


@pytest.mark.parametrize("wrong", [{"running": -1}, {"usd_per_day": "lots"}, {"weight": 2}])
async def test_a_wrong_default_is_refused(admin: AdminContext, wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        await set_defaults(admin, **wrong)
