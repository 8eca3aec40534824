from datetime import timedelta
from typing import Any

import pytest

from core.jobs.run_times import MIN_RUNS, RunHistory
from service.console.charts import HEIGHT, MAX_BARS, bars_of, run_time_rows, summed
from service.console.routes.operator_usage import GROUPINGS
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


def test_a_report_of_several_tenants_has_one_row_for_each_group() -> None:
    rows = [
        {"tenant": tenant, "group": day, "jobs": jobs, "used_usd": 1.5}
        for tenant, day, jobs in (("a", "2026-03-01", 1), ("b", "2026-03-01", 2), ("b", "x", 4))
    ]
    given = {"by": "day", "rows": rows, "total": {"jobs": 7, "used_usd": 4.5}}
    assert summed(given)["rows"] == [
        {"group": "2026-03-01", "jobs": 3, "used_usd": 3.0},
        {"group": "x", "jobs": 4, "used_usd": 1.5},
    ]
    by_tenant = summed(given, "tenant")
    assert [(row["group"], row["jobs"]) for row in by_tenant["rows"]] == [("a", 1), ("b", 6)]
    assert by_tenant["total"] == given["total"]


def test_run_times_are_to_one_scale_and_need_enough_runs() -> None:
    def runs(count: int, longest: int) -> RunHistory:
        times = (timedelta(seconds=longest * n / count) for n in range(1, count + 1))
        return RunHistory.from_newest_first(times)

    rows = run_time_rows([("slow", runs(100, 100)), ("fast", runs(100, 50)), ("new", runs(3, 9))])
    assert [(row.model_id, row.runs) for row in rows] == [("slow", 100), ("fast", 100)]
    assert (rows[0].median, rows[0].p90) == (timedelta(seconds=50), timedelta(seconds=90))
    assert (rows[0].p90_width, rows[1].p90_width) == (HEIGHT, HEIGHT / 2)
    assert run_time_rows([]) == []


@pytest.mark.parametrize("by", GROUPINGS)
async def test_operators_see_what_all_tenants_spent_as_a_chart_and_a_table(
    app: AppHarness, key: str, by: str
) -> None:
    others = await app.tenant("other-team")
    await submitted(app, key, "team:ads")
    await submitted(app, others, "team:ads")
    operator = await signed_in_operator(app)
    page = await operator.page(f"/operator/usage?by={by}")
    assert page.count("<rect") >= (2 if by == "tenant" else 1)
    table = await operator.page(f"/operator/usage.csv?by={by}")
    lines = table.splitlines()
    assert lines[0].startswith(f"{by},jobs,")
    assert lines[-1].startswith("total,2,")
    wanted = {"model": KLING, "label": "team=ads", "tenant": "other-team"}.get(by, "")
    assert wanted in page
    assert len(lines) == (4 if by == "tenant" else 3)


async def test_the_overview_has_charts_of_days_and_of_run_times(app: AppHarness, key: str) -> None:
    operator = await signed_in_operator(app)
    assert "Run times" not in await operator.page("/operator")
    await submitted(app, key, "team:ads")
    app.stores.memory.run_times[KLING] = [9_000] * MIN_RUNS
    app.stores.memory.run_counts[KLING] = MIN_RUNS
    await app.resources.run_times.refresh()
    page = await operator.page("/operator")
    assert "Spent by day, all tenants" in page
    assert "Run times" in page
    assert "9.0 s" in page
