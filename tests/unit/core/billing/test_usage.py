"""What jobs count as."""

import struct
from dataclasses import replace
from typing import Any

import pytest

from core.billing.settlement import ReservationTotals
from core.billing.usage import Budget, Usage, UsageTotals, WindowUsage, usage_facts, usage_of_job
from core.jobs.job import BillingStatus, Job, JobState
from core.money import MicroUsd
from core.tenants.limits import Limits
from core.tenants.windows import UTC_CALENDAR
from tests.support.records import NOW

JOB = Job("req_1", "ada", "a/b", "1:f", NOW, NOW, video_ms=5000)


def test_nothing_used_is_nothing_held() -> None:
    assert (
        UsageTotals().jobs,
        UsageTotals().reservations.used,
        UsageTotals().reservations.held,
    ) == (0, 0, 0)


def test_the_tightest_budget_is_what_remains() -> None:
    windows = tuple(WindowUsage(w, UsageTotals(1, 30), {}) for w in UTC_CALENDAR.windows_at(NOW))
    limits = Limits(usd_per_week=MicroUsd(100), usd_total=MicroUsd(50))
    usage = Usage(Budget(limits), windows, running=0, waiting=0, at=NOW, past={})
    assert usage.remaining_budget == 20
    assert replace(usage, budget=Budget(Limits())).remaining_budget is None


@pytest.mark.parametrize(
    ("changes", "amounts", "counted"),
    [
        ({}, (100, 0, 0), {}),
        (
            {"state": JobState.SUCCEEDED, "cost": MicroUsd(90)},
            (100, 90, 10),
            {"completed": 1, "video_ms": 5000},
        ),
        (
            {"state": JobState.SUCCEEDED, "cost": MicroUsd(0), "leader": "r", "cost_saved": 70},
            (0, 0, 0),
            {"completed": 1, "reused_jobs": 1, "cost_saved": 70},
        ),
        ({"state": JobState.CANCELLED}, (100, 0, 100), {"cancelled": 1}),
        (
            {"state": JobState.FAILED, "cost": MicroUsd(40), "billed": BillingStatus.YES},
            (100, 40, 60),
            {"failed": 1, "charged_failures": 1, "charged_failures_cost": 40},
        ),
        (
            {"state": JobState.EXPIRED, "billed": BillingStatus.UNKNOWN},
            (100, 100, 0),
            {
                "failed": 1,
                "estimated": 1,
                "estimated_cost": 100,
                "charged_failures": 1,
                "charged_failures_cost": 100,
            },
        ),
        (
            {"state": JobState.IN_DOUBT, "billed": BillingStatus.UNKNOWN},
            (100, 0, 0),
            {"in_doubt": 1, "in_doubt_held": 100},
        ),
    ],
)
def test_each_outcome_counts_once(
    changes: dict[str, Any], amounts: tuple[int, int, int], counted: dict[str, int]
) -> None:
    reserved, settled, released = amounts
    assert usage_of_job(replace(JOB, **changes), ReservationTotals(*amounts)) == UsageTotals(
        jobs=1, reserved=reserved, settled=settled, released=released, **counted
    )


def test_a_row_of_the_store_is_the_numbers_in_order() -> None:
    assert UsageTotals.parse(struct.pack(">3q", 3, 20, 5)) == UsageTotals(
        jobs=3, reserved=20, settled=5
    )
    assert len(usage_facts(JOB)) == 8
