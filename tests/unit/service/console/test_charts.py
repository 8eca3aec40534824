from datetime import timedelta
from typing import Any

import pytest

from service.console.charts import HEIGHT, MAX_BARS, bars_of
from tests.support.app import KLING, KLING_INPUT, KLING_PATH, AppHarness
from tests.support.console import Browser, signed_in_operator


def report(by: str, **amounts: float) -> dict[str, Any]:
    rows = [{"group": name.strip("_"), "used_usd": amount} for name, amount in amounts.items()]
    return {"from": "2026-02-27", "to": "2026-03-02", "by": by, "rows": rows}


def test_every_day_has_a_bar() -> None:
    given = report("day") | {"rows": [{"group": "2026-02-28", "used_usd": 4.0}]}
    bars = bars_of(given)
    assert [bar.name for bar in bars] == ["2026-02-27", "2026-02-28", "2026-03-01", "2026-03-02"]
    assert [bar.height for bar in bars] == [0, HEIGHT, 0, 0]


def test_bars_are_to_scale_and_small_amounts_are_seen() -> None:
    heights = {bar.name: bar.height for bar in bars_of(report("model", a=10, b=5, c=0.0001, d=0))}
    assert (heights["a"], heights["b"], heights["d"]) == (HEIGHT, HEIGHT / 2, 0)
    assert 0 < heights["c"] < 1


def test_the_largest_groups_come_first_and_further_ones_are_left_out() -> None:
    bars = bars_of(report("label", **{f"l{number}": number for number in range(100)}))
    assert len(bars) == MAX_BARS
    assert bars[0].name == "l99"


@pytest.mark.parametrize("by", ["day", "model"])
def test_no_usage_is_no_bar_with_a_height(by: str) -> None:
    assert not any(bar.height for bar in bars_of(report(by)))


async def submitted(app: AppHarness, key: str, label: str) -> str:
    async with app.client(key) as caller:
        answer = await caller.post(KLING_PATH, json=KLING_INPUT, params={"label": label})
    request_id: str = answer.json()["request_id"]
    return request_id


@pytest.mark.parametrize("by", ["day", "month", "model", "key", "reference", "label"])
async def test_the_usage_page_has_a_chart_and_its_table(
    app: AppHarness, key: str, tenant: Browser, by: str
) -> None:
    await submitted(app, key, "team:ads")
    page = await tenant.page(f"/usage?by={by}")
    assert "<rect" in page
    assert f"Usage by {by}" in page
    wanted = {"model": KLING, "label": "team=ads"}.get(by, "")
    assert wanted in page
    table = await tenant.page(f"/usage.csv?by={by}")
    assert table.startswith(f"{by},jobs,")
    assert wanted in table
    assert "<rect" in await tenant.page("/home")


async def test_requests_are_filtered_by_label(app: AppHarness, key: str, tenant: Browser) -> None:
    ours, other = await submitted(app, key, "team:ads"), await submitted(app, key, "team:web")
    page = await tenant.page("/requests?label=team:ads")
    assert ours in page
    assert other not in page
    assert "team:ads" in page
    wrong = await tenant.get("/requests?label=no-colon")
    assert wrong.status_code < 500


async def test_an_operator_lists_the_requests_of_all_tenants(app: AppHarness, key: str) -> None:
    others = await app.tenant("other-team")
    first = await submitted(app, key, "team:ads")
    app.clock.move(timedelta(seconds=1))
    second = await submitted(app, others, "team:web")
    operator = await signed_in_operator(app)
    page = await operator.page("/operator/requests")
    assert page.index(second) < page.index(first)
    assert "/operator/tenants/other-team" in page
    one = await operator.page("/operator/requests?tenant=other-team")
    assert second in one
    assert first not in one
