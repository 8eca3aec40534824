"""The list of all tenants' requests."""

from datetime import timedelta

import pytest

from tests.support.app import KLING_INPUT, KLING_PATH, AppHarness
from tests.support.console import ADMIN_TOKEN


@pytest.mark.parametrize("filters", [{}, {"reference": "same"}, {"status": "in_queue"}])
async def test_pages_hold_every_request_once_and_the_newest_first(
    app: AppHarness, filters: dict[str, str]
) -> None:
    app.enable_admin_api(ADMIN_TOKEN)
    made: list[tuple[str, str]] = []
    keys = {name: await app.tenant(name) for name in ("ads", "video", "web")}
    for name in ("ads", "ads", "web", "video", "ads", "web", "web", "ads", "video"):
        async with app.client(keys[name]) as caller:
            answer = await caller.post(KLING_PATH, json=KLING_INPUT, params={"reference": "same"})
        made.append((name, answer.json()["request_id"]))
        app.clock.move(timedelta(milliseconds=2))
    found: list[tuple[str, str]] = []
    query: dict[str, str] = {"limit": "2", **filters}
    async with app.client(ADMIN_TOKEN) as operator:
        for _ in range(len(made)):
            page = (await operator.get("/admin/v1/requests", params=query)).json()
            found += [(one["tenant"], one["request_id"]) for one in page["requests"]]
            if "next_cursor" not in page:
                break
            query["cursor"] = page["next_cursor"]
    assert found == made[::-1]


async def test_without_tenants_there_is_none(app: AppHarness) -> None:
    app.enable_admin_api(ADMIN_TOKEN)
    async with app.client(ADMIN_TOKEN) as operator:
        assert (await operator.get("/admin/v1/requests")).json() == {"requests": []}
