"""Which writes say whether a refused run was charged."""

from dataclasses import replace
from typing import Any

import pytest

from core.jobs.job import BillingStatus, Job, JobError, JobState
from core.jobs.refusal_costs import RUN_FAILED_CODE, RefusalCosts, refusal_charged
from core.money import MicroUsd
from tests.support.records import job

YES, NO, UNKNOWN = BillingStatus.YES, BillingStatus.NO, BillingStatus.UNKNOWN
REFUSED = JobError(RUN_FAILED_CODE, "No.")


def failed(**changes: Any) -> Job:  # noqa: ANN401 - fields of the record
    fields = {"state": JobState.FAILED, "error": REFUSED, "billed": YES, "cost": MicroUsd(9)}
    return replace(job(), **{**fields, **changes})


@pytest.mark.parametrize(
    ("changes", "charged"),
    [
        ({}, True),
        ({"billed": NO, "cost": MicroUsd(0)}, False),
        ({"billed": UNKNOWN, "cost": MicroUsd(0)}, None),
        ({"cost": None}, None),
        ({"error": JobError("no_output", "Nothing.")}, None),
        ({"error": JobError("timeout", "Late.")}, None),
        ({"error": None}, None),
        ({"leader": "req_0"}, None),
        ({"state": JobState.SUCCEEDED}, None),
    ],
)
def test_a_run_counts_when_its_cost_is_settled(
    changes: dict[str, Any], *, charged: bool | None
) -> None:
    after = failed(**changes)
    assert refusal_charged(job(), after) is charged
    assert refusal_charged(after, after) is None or after.cost is None


@pytest.mark.parametrize(
    ("costs", "charges"),
    [
        (RefusalCosts(), UNKNOWN),
        (RefusalCosts(free=1), NO),
        (RefusalCosts(charged=1, free=99), YES),
    ],
)
def test_one_that_was_charged_is_a_warning(costs: RefusalCosts, charges: BillingStatus) -> None:
    assert costs.charges is charges
