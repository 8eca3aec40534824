"""The settlement of a job's reservation: one status for every end, and amounts that add up."""

from dataclasses import replace
from typing import Any

import pytest

from core.billing.settlement import Settlement, SettlementStatus, settlement_of
from core.jobs.job import FINAL_STATES, BillingStatus, FollowUp, JobState
from core.money import MicroUsd
from tests.support.records import job

COST = MicroUsd(7)
OPEN = sorted(set(JobState) - FINAL_STATES)


@pytest.mark.parametrize("state", OPEN)
@pytest.mark.parametrize("billed", BillingStatus)
@pytest.mark.parametrize("cost", [None, COST])
def test_an_open_job_is_held_whatever_is_known(
    state: JobState, billed: BillingStatus, cost: MicroUsd | None
) -> None:
    assert (
        settlement_of(replace(job(state), billed=billed, cost=cost)).status is SettlementStatus.HELD
    )


@pytest.mark.parametrize("state", sorted(FINAL_STATES))
@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({"billed": BillingStatus.NO}, SettlementStatus.FREE),
        ({"billed": BillingStatus.YES}, SettlementStatus.ESTIMATED),
        ({"billed": BillingStatus.UNKNOWN}, SettlementStatus.ESTIMATED),
        ({"billed": BillingStatus.YES, "follow_up": FollowUp.READ_COST}, SettlementStatus.HELD),
        (
            {"billed": BillingStatus.UNKNOWN, "follow_up": FollowUp.AWAIT_LATE_RESULT},
            SettlementStatus.HELD,
        ),
        (
            {"billed": BillingStatus.NO, "follow_up": FollowUp.AWAIT_LATE_RESULT},
            SettlementStatus.HELD,
        ),
    ],
)
def test_an_ended_job_stands_by_what_is_known_of_its_charge(
    state: JobState, changes: dict[str, Any], verdict: SettlementStatus
) -> None:
    ended = replace(job(state), **changes)
    assert settlement_of(ended) == Settlement(verdict)
    assert settlement_of(replace(ended, cost=COST)) == Settlement(SettlementStatus.SPENT, COST)
