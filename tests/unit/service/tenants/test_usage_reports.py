"""Reports of usage: the periods, the sums as JSON and CSV, and statements."""

import csv
import io
from datetime import date, timedelta
from typing import Any

import pytest

from core.billing.usage import UsageTotals
from core.billing.usage_history import DayUsage, GroupBy, UsageReport
from core.errors import InvalidInput
from core.tenants.api_keys import ApiKey
from core.tenants.tenant import Tenant
from service.tenants.api_keys import key_id
from service.tenants.statements import Statement, statement_csv, statement_html
from service.tenants.usage_reports import (
    Report,
    UsageQuery,
    exact_usd,
    month_query,
    report_csv,
    report_representation,
    report_tenant,
)
from tests.support.records import NOW
from tests.support.store_harness import memory_harness

TODAY = date(2026, 11, 28)
SMALL = UsageTotals(2, 300_001, 100_001, 100_000, completed=1)
LARGE = UsageTotals(1, 10**15 + 1, 10**15 + 1, completed=1)


def report_of(by: GroupBy) -> Report:
    """Two days with a model that a spreadsheet would execute."""
    sums = UsageReport(by)
    sums.add(DayUsage(date(2026, 10, 1), SMALL, {"=1+1": SMALL}))
    sums.add(DayUsage(date(2026, 10, 2), LARGE, {"<b>": LARGE}))
    return Report(date(2026, 10, 1), date(2026, 10, 31), by, "Europe/Rome", [("ape", sums)])


@pytest.mark.parametrize(
    ("query", "period"),
    [
        ({"by": "day"}, ("2026-11-01", "2026-11-28")),
        ({"from": "2026-10-05"}, ("2026-10-05", "2026-11-28")),
        ({"to": "2026-10-05"}, ("2026-10-01", "2026-10-05")),
        ({"from": "2027-01-01"}, ("2027-01-01", "2027-01-01")),
    ],
)
def test_what_is_left_out_is_this_month(query: dict[str, Any], period: tuple[str, str]) -> None:
    first, last = UsageQuery.model_validate(query).period(TODAY)
    assert (f"{first}", f"{last}") == period


@pytest.mark.parametrize(
    ("month", "last"), [("2026-02", 28), ("2028-02", 29), ("2026-12", 31), ("2026-04", 30)]
)
def test_a_month_ends_when_it_ends(month: str, last: int) -> None:
    first, end = month_query(month, GroupBy.DAY).period(TODAY)
    assert (first.day, end.day, end.month) == (1, last, first.month)


@pytest.mark.parametrize("month", ["2026-13", "2026", "2026-1", "october", "2026-10-01"])
def test_what_is_no_month_is_refused(month: str) -> None:
    with pytest.raises(InvalidInput):
        month_query(month, GroupBy.DAY)


def test_a_period_is_bounded() -> None:
    for query in ({"from": "2020-01-01"}, {"from": "2026-11-02", "to": "2026-11-01"}):
        with pytest.raises(InvalidInput):
            UsageQuery.model_validate(query).period(TODAY)


def test_money_has_every_digit() -> None:
    assert exact_usd(10**15 + 1) == "1000000000.000001"
    document = report_representation(report_of(GroupBy.MODEL))
    assert document["total"]["settled_usd"] == 1_000_000_000.100002
    assert document["rows"][0]["used_usd"] == 1_000_000_000.000001


def test_csv_executes_nothing_and_adds_up() -> None:
    rows = list(csv.DictReader(io.StringIO(report_csv(report_of(GroupBy.MODEL)))))
    assert [row["model"] for row in rows] == ["<b>", "'=1+1", ""]
    *parts, total = [round(float(row["settled_usd"]) * 10**6) for row in rows]
    assert sum(parts) == total == 10**15 + 100_002


def test_csv_has_every_millisecond_of_video() -> None:
    sums = UsageReport(GroupBy.DAY)
    sums.add(DayUsage(date(2026, 10, 1), UsageTotals(jobs=1, video_ms=2_030_244_501), {}))
    report = Report(date(2026, 10, 1), date(2026, 10, 1), GroupBy.DAY, "UTC", [("ape", sums)])
    rows = csv.DictReader(io.StringIO(report_csv(report)))
    assert {row["video_seconds"] for row in rows} == {"2030244.501"}


def test_a_statement_is_a_page_that_loads_nothing() -> None:
    parts = [report_of(by) for by in (GroupBy.MODEL, GroupBy.KEY, GroupBy.DAY)]
    page = statement_html(Statement("ape", "2026-10", NOW, parts))
    assert "&lt;b&gt;" in page
    assert page.count('<tr class="total">') == 3
    assert "1000000000.100002 USD charged for" in page
    assert "days of Europe/Rome. Made" in page
    late = statement_html(Statement("ape", "2026-10", NOW, parts, reset_hour=6))
    assert "days of Europe/Rome from 6:00. Made" in late
    for outside in ("<b>", "http:", "https:", "<script", "src="):
        assert outside not in page
    rows = list(csv.reader(io.StringIO(statement_csv(Statement("ape", "2026-10", NOW, parts)))))
    assert {row[6] for row in rows if row[1] == "total"} == {"1000000000.100002"}


async def test_a_new_tenant_does_not_see_the_history_of_a_deleted_one_of_its_name() -> None:
    harness, stores = memory_harness()
    await harness.tenant("ape")
    await harness.submit("ape", reference="secret")
    now = harness.clock.now()
    query = UsageQuery.model_validate({"by": "reference"})
    groups = []
    for created_at in (now, now + timedelta(days=1)):
        namesake = Tenant("ape", created_at)
        report = await report_tenant(stores, namesake, query, now + timedelta(days=2))
        groups.append([group for _, group, _ in report.rows])
    assert groups == [["secret"], []]


async def test_reports_by_key_name_the_keys_that_have_a_name() -> None:
    harness, stores = memory_harness()
    await harness.tenant("ape")
    now = harness.clock.now()
    named = ApiKey("ab" * 32, "ape", now, name="render <farm>")
    await stores.tenants.add_key(named)
    await harness.submit("ape", key_id=key_id(named))
    await harness.submit("ape", key_id="gone")
    owner = await stores.tenants.load("ape")
    assert owner is not None
    report = await report_tenant(stores, owner, UsageQuery.model_validate({"by": "key"}), now)
    shown = report_representation(report)
    assert {row["group"]: row["name"] for row in shown["rows"]} == {
        key_id(named): "render <farm>",
        "gone": None,
    }
    cells = [row[1:4] for row in csv.reader(io.StringIO(report_csv(report)))]
    assert cells == [
        ["key", "name", "jobs"],
        [key_id(named), "render <farm>", "1"],
        ["gone", "", "1"],
        ["", "", "2"],
    ]
    page = statement_html(Statement("ape", f"{now:%Y-%m}", now, [report]))
    assert f"{key_id(named)} (render &lt;farm&gt;)" in page
