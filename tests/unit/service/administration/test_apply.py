"""Tenants by file: what is compared, what is done, what is left alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from core.errors import Conflict, InvalidInput
from service.tenants.apply_file import Action, apply, plan, preview
from service.tenants.settings import Difference
from service.tenants.tenants import delete_tenant, load_tenant
from tests.builders import tenant

if TYPE_CHECKING:
    from service.operator_context import Desk
    from tests.fakes.face import Face


@pytest.fixture
def desk(face: Face) -> Desk:
    """An operator over empty stores."""
    return face.resources.desk


def file(**tenants: Any) -> dict[str, object]:  # noqa: ANN401 - tables of a file
    return {"tenants": tenants}


async def test_a_new_tenant_is_created_with_a_key_shown_once(desk: Desk) -> None:
    (step,) = await apply(desk, file(ads={"usd_per_day": 5}))
    assert step.action is Action.CREATE
    assert step.key is not None
    assert step.key.startswith("rcg_ads_")
    assert (await load_tenant(desk, "ads")).limits.usd_per_day == 5_000_000


async def test_twice_is_once(desk: Desk) -> None:
    await apply(desk, file(ads={"usd_per_day": 5}, film={}))
    before = await load_tenant(desk, "ads")
    again = await apply(desk, file(ads={"usd_per_day": 5}, film={}))
    assert [(step.action, step.changes) for step in again] == [(Action.KEEP, ())] * 2
    assert await load_tenant(desk, "ads") == before
    assert len(await desk.controls.audit(10)) == 2


async def test_what_the_file_leaves_out_of_a_tenant_gets_its_default(desk: Desk) -> None:
    await apply(desk, file(ads={"usd_per_day": 5, "weight": 2}))
    (step,) = await apply(desk, file(ads={"weight": 2}))
    assert step.action is Action.CHANGE
    assert step.changes == (Difference("usd_per_day", 5.0, None),)
    assert (await load_tenant(desk, "ads")).limits.usd_per_day is None


async def test_a_tenant_that_the_file_does_not_name_is_told_of_and_left_alone(desk: Desk) -> None:
    await apply(desk, file(ads={"weight": 3}))
    steps = await apply(desk, file(film={}))
    assert {step.tenant: step.action for step in steps} == {
        "film": Action.CREATE,
        "ads": Action.UNLISTED,
    }
    assert (await load_tenant(desk, "ads")).limits.weight == 3


async def test_a_preview_changes_nothing(desk: Desk) -> None:
    (step,) = await preview(desk, file(ads={"running": 1}))
    assert (step.action, step.key) == (Action.CREATE, None)
    assert await desk.tenants.names() == frozenset()
    assert await desk.controls.audit(10) == []


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
async def test_a_wrong_file_does_nothing_at_all(desk: Desk, document: dict[str, object]) -> None:
    with pytest.raises(InvalidInput):
        await apply(desk, document)
    assert await desk.tenants.names() == frozenset()


async def test_a_deleted_tenant_s_name_is_not_given_anew_by_a_file(desk: Desk) -> None:
    await apply(desk, file(ads={}))
    await delete_tenant(desk, "ads")
    with pytest.raises(Conflict, match="ads"):
        await apply(desk, file(film={}, ads={}))
    assert await desk.tenants.names() == frozenset()


def test_a_plan_is_pure() -> None:
    assert plan({}, [tenant()])[0].action is Action.UNLISTED
