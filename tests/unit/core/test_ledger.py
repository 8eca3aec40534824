"""What a job's money has come to: a verdict for every end, and books that always balance."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from core.billing.settlement import Standing, Verdict, standing
from core.jobs.job import FINAL_STATES, Billed, Errand, JobState
from core.money import MicroUsd
from tests.builders import job

COST = MicroUsd(7)
OPEN = sorted(set(JobState) - FINAL_STATES)


@pytest.mark.parametrize("state", OPEN)
@pytest.mark.parametrize("billed", Billed)
@pytest.mark.parametrize("cost", [None, COST])
def test_an_open_job_is_held_whatever_is_known(
    state: JobState, billed: Billed, cost: MicroUsd | None
) -> None:
    assert standing(replace(job(state), billed=billed, cost=cost)).verdict is Verdict.HELD


@pytest.mark.parametrize("state", sorted(FINAL_STATES))
@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({"billed": Billed.NO}, Verdict.FREE),
        ({"billed": Billed.YES}, Verdict.ESTIMATED),
        ({"billed": Billed.UNKNOWN}, Verdict.ESTIMATED),
        ({"billed": Billed.YES, "errand": Errand.READ_COST}, Verdict.HELD),
        ({"billed": Billed.UNKNOWN, "errand": Errand.AWAIT_LATE_RESULT}, Verdict.HELD),
        ({"billed": Billed.NO, "errand": Errand.AWAIT_LATE_RESULT}, Verdict.HELD),
    ],
)
def test_an_ended_job_stands_by_what_is_known_of_its_charge(
    state: JobState, changes: dict[str, Any], verdict: Verdict
) -> None:
    ended = replace(job(state), **changes)
    assert standing(ended) == Standing(verdict)
    assert standing(replace(ended, cost=COST)) == Standing(Verdict.SPENT, COST)
