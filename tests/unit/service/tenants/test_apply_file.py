"""Tenants from a file: the comparison, the changes, what stays untouched."""

from typing import Any

import pytest

from core.errors import Conflict, InvalidInput
from service.admin.limits_and_pauses import LimitChanges, change_limits
from service.operator_context import AdminContext
from service.parsing.request_models import parse_model
from service.tenants.apply_file import PlanAction, TenantsFile, apply, plan, preview
from service.tenants.settings import Difference
from service.tenants.tenants import TenantDetails, delete_tenant, load_tenant
from tests.support.app import AppHarness
from tests.support.records import tenant, webhook_config


@pytest.fixture
def admin_context(app: AppHarness) -> AdminContext:
    """The operator's context over empty stores."""
    return app.resources.admin


def file(**tenants: Any) -> TenantsFile:  # noqa: ANN401 - tables of a file
    return parse_model(TenantsFile, {"tenants": tenants})


async def test_a_new_tenant_is_created_with_a_key_shown_once(admin_context: AdminContext) -> None:
    (step,) = await apply(admin_context, file(ads={"usd_per_day": 5}))
    assert step.action is PlanAction.CREATE
    assert step.key is not None
    assert step.key.startswith("rcg_ads_")
    assert (await load_tenant(admin_context, "ads")).limits.usd_per_day == 5_000_000


async def test_twice_is_once(admin_context: AdminContext) -> None:
    await apply(admin_context, file(ads={"usd_per_day": 5}, film={}))
    before = await load_tenant(admin_context, "ads")
    again = await apply(admin_context, file(ads={"usd_per_day": 5}, film={}))
    assert [(step.action, step.changes) for step in again] == [(PlanAction.KEEP, ())] * 2
    assert await load_tenant(admin_context, "ads") == before
    assert len(await admin_context.stores.audit.list_entries(10)) == 2


async def test_what_the_file_leaves_out_of_a_tenant_gets_its_default(
    admin_context: AdminContext,
) -> None:
    await apply(admin_context, file(ads={"usd_per_day": 5, "weight": 2}))
    (step,) = await apply(admin_context, file(ads={"weight": 2}))
    assert step.action is PlanAction.CHANGE
    assert step.changes == (Difference("usd_per_day", 5.0, None),)
    assert (await load_tenant(admin_context, "ads")).limits.usd_per_day is None


async def test_a_tenant_that_the_file_does_not_name_is_told_of_and_left_alone(
    admin_context: AdminContext,
) -> None:
    await apply(admin_context, file(ads={"weight": 3}))
    steps = await apply(admin_context, file(film={}))
    assert {step.tenant: step.action for step in steps} == {
        "film": PlanAction.CREATE,
        "ads": PlanAction.UNLISTED,
    }
    assert (await load_tenant(admin_context, "ads")).limits.weight == 3


async def test_a_preview_changes_nothing(admin_context: AdminContext) -> None:
    (step,) = await preview(admin_context, file(ads={"running": 1}))
    assert (step.action, step.key) == (PlanAction.CREATE, None)
    assert await admin_context.stores.tenants.list_names() == frozenset()
    assert await admin_context.stores.audit.list_entries(10) == []


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"tenants": []},
        {"tenants": {}, "limits": {}},
        {"tenants": {"ads": 5}},
        {"tenants": {"Ads": {}}},
        {"tenants": {"ads": {"usd_per_dya": 5}}},
        {"tenants": {"good": {}, "ads": {"running": -1}}},
    ],
)
async def test_a_wrong_file_does_nothing_at_all(
    admin_context: AdminContext, document: dict[str, object]
) -> None:
    with pytest.raises(InvalidInput):
        await apply(admin_context, parse_model(TenantsFile, document))
    assert await admin_context.stores.tenants.list_names() == frozenset()


async def test_a_deleted_tenant_s_name_is_not_given_anew_by_a_file(
    admin_context: AdminContext,
) -> None:
    await apply(admin_context, file(ads={}))
    await delete_tenant(admin_context, "ads")
    with pytest.raises(Conflict, match="ads"):
        await apply(admin_context, file(film={}, ads={}))
    assert await admin_context.stores.tenants.list_names() == frozenset()


def test_a_plan_is_pure() -> None:
    assert plan({}, [TenantDetails(tenant(), webhook_config())])[0].action is PlanAction.UNLISTED


async def test_limits_that_the_file_leaves_out_are_those_of_new_tenants(
    admin_context: AdminContext,
) -> None:
    await set_default_limits(admin_context, usd_per_day=25, running=3)
    desired = file(ads={"running": 9}, film={})
    await apply(admin_context, desired)
    ads, film = [await load_tenant(admin_context, name) for name in ("ads", "film")]
    assert (ads.limits.running, ads.limits.usd_per_day) == (9, 25_000_000)
    assert (film.limits.running, film.limits.usd_per_day) == (3, 25_000_000)
    again = await apply(admin_context, desired)
    assert [(step.action, step.changes) for step in again] == [(PlanAction.KEEP, ())] * 2


async def set_default_limits(admin: AdminContext, **limits: float) -> None:
    await change_limits(admin, parse_model(LimitChanges, {"default_limits": limits}))
