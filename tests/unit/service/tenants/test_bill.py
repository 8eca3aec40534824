"""RunComfy's bill: its columns, and its comparison with what was settled."""

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest

from core.errors import InvalidInput
from core.jobs.job import BillingStatus, Job, JobState
from service.operator_context import AdminContext
from service.tenants.bill import Bill, parse_bill, reconcile_bill, reconciliation_representation
from tests.support.app import AppHarness
from tests.support.memory_store.stores import MemoryStores
from tests.support.store_harness import StoreHarness, memory_harness

DAY = timedelta(days=1)


@pytest.mark.parametrize(
    "text",
    [
        "request_id,cost_usd\nup-1,1.5\nup-2,0.000001\n",
        "\ufeffDay;Request ID;Amount (USD)\r\n2026-10-01;up-1;$1.50\r\n;up-2;0.000001\r\n",
        "model\tid\tcost\nkling\tup-1\t1.25 USD\nkling\tup-1\t0.25\nflux\tup-2\t0.0000009\n",
        'id,amount\nup-1,"1,001.50"\nup-1,-1000\nup-2,0.000001\n\n',
    ],
)
def test_columns_are_found_and_lines_of_one_request_are_added_up(text: str) -> None:
    assert parse_bill(text) == Bill({"up-1": 1_500_000, "up-2": 1})


def test_columns_can_be_named() -> None:
    text = "request_id,Ref,amount,Net\nx,up-1,9,1.5\n"
    assert parse_bill(text, "Ref", "Net") == Bill({"up-1": 1_500_000})


def test_a_line_without_a_request_is_not_lost() -> None:
    assert parse_bill("id,cost\nup-1,1\n,2.5\n").other_lines == (("line 3", 2_500_000),)


@pytest.mark.parametrize(
    ("text", "column", "says"),
    [
        ("", None, "It has: none"),
        ("who,cost\n", None, "It has: who, cost"),
        ("id,what\n", None, "--amount-column"),
        ("id,cost\n", "Cost2", "no column of that name"),
        ("id,cost\nup-1,much\n", None, "Line 2"),
        ("id,cost\nup-1,1\nup-2\n", None, "Line 3"),
        ("id;cost\nup-1;1,50\n", None, "'1,50'"),
    ],
)
def test_what_cannot_be_read_is_refused(text: str, column: str | None, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        parse_bill(text, amount_column=column)


async def _end(harness: StoreHarness, name: str, cost: int | None) -> Job:
    job = await harness.submit("ape")
    await harness.start(job.id)
    await harness.update(job.id, JobState.RUNNING, upstream_id=name)
    if cost is None:
        await harness.update(job.id, JobState.FAILED, billed=BillingStatus.NO)
    else:
        await harness.succeed(job.id, cost)
    return job


def _document(found: dict[str, Any]) -> dict[str, tuple[str, float | None, float | None]]:
    return {
        one["request"]: (one["difference"], one["runcomfy_usd"], one["gateway_usd"])
        for one in found["differences"]
    }


async def test_each_difference_is_listed_to_the_micro_dollar(app: AppHarness) -> None:
    harness, stores = memory_harness()
    admin = _operator(app, harness, stores)
    await harness.tenant("ape")
    await _end(harness, "up-same", 1_000_001)
    await _end(harness, "up-more", 2_000_000)
    await _end(harness, "up-ours", 3_000_000)
    await _end(harness, "up-free", None)
    await _end(harness, "up-charged", None)
    open_job, lost, doubted = [await harness.submit("ape") for _ in range(3)]
    for job in (open_job, lost, doubted):
        await harness.start(job.id)
    await harness.update(open_job.id, JobState.RUNNING, upstream_id="up-open")
    for job in (lost, doubted):
        await harness.update(job.id, JobState.IN_DOUBT)
    await harness.update(lost.id, JobState.FAILED, billed=BillingStatus.UNKNOWN)
    bill = parse_bill(
        "id,cost\nup-same,1.000001\nup-more,2.000001\nup-charged,0.5\nup-open,4\nup-other,5\n,6\n"
    )
    found = await reconcile_bill(admin, bill)
    document = reconciliation_representation(found)
    assert document["matched"] == 1
    assert found.differs
    assert _document(document) == {
        "up-more": ("amount", 2.000001, 2.0),
        "up-charged": ("amount", 0.5, 0.0),
        "up-open": ("not_settled", 4.0, None),
        "up-other": ("not_ours", 5.0, None),
        "up-ours": ("not_theirs", None, 3.0),
        lost.id: ("without_id", None, 1.26),
        doubted.id: ("in_doubt", None, 1.26),
        "line 7": ("no_request", 6.0, None),
    }
    assert (document["runcomfy_usd"], document["gateway_usd"]) == (12.500002, 7.260001)


async def test_a_bill_that_agrees_has_no_difference(app: AppHarness) -> None:
    harness, stores = memory_harness()
    admin = _operator(app, harness, stores)
    await harness.tenant("ape")
    await _end(harness, "up-1", 1)
    await harness.clock.advance(DAY)
    await _end(harness, "up-2", 2)
    whole = Bill({"up-1": 1, "up-2": 2})
    assert not (await reconcile_bill(admin, whole)).differs
    # The day of the other request is not that of this bill.
    assert not (await reconcile_bill(admin, Bill({"up-1": 1}))).differs
    today = harness.clock.now().date()
    found = await reconcile_bill(admin, Bill({"up-1": 1}), (today - DAY, today))
    assert [one.request for one in found.comparison.differences] == ["up-2"]
    with pytest.raises(InvalidInput, match="75 days"):
        await reconcile_bill(admin, whole, (date(2020, 1, 1), today))


def _operator(app: AppHarness, harness: StoreHarness, stores: MemoryStores) -> AdminContext:
    return replace(app.resources.admin, stores=stores, clock=harness.clock)
