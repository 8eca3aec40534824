"""What is said of money, in every end of a job: a job that was sent twice is never called free."""

from __future__ import annotations

import pytest

from core.jobs.job import Billed, Job, JobState
from core.money import MicroUsd
from core.tenants.tenant import DoubtPolicy
from tests.builders import NOW, at, fault, job, rules
from worker.jobs.decisions.after_end import cost_read, late_result
from worker.jobs.decisions.fetch_result import collected
from worker.jobs.decisions.poll import cancel_answered, run_overdue
from worker.jobs.decisions.submit import start_overdue, submitted
from worker.jobs.decisions.transition import Move, Wait
from worker.ports import (
    CancelDone,
    Cancelled,
    Completed,
    Failed,
    NotSent,
    Rejected,
    SubmitAnswer,
    Times,
)

S = JobState
LATER = at(1)
TIMES = Times()
FREE, COST = MicroUsd(0), MicroUsd(840_000)


def answered(record: Job, answer: SubmitAnswer) -> Move:
    return submitted(record, answer, DoubtPolicy.HOLD, LATER, rules())


def free_ends(approved: int) -> dict[str, Move | Wait | None]:
    """Every end that costs nothing by itself, of a job with this many approved resends."""

    def of(state: JobState, **changes: object) -> Job:
        return job(state, resends_approved=approved, **changes)

    return {
        "not sent": answered(of(S.SUBMITTING), NotSent(fault())),
        "rejected": answered(of(S.SUBMITTING), Rejected(fault())),
        "cancelled here": start_overdue(of(S.QUEUED, cancel_asked_at=NOW), LATER),
        "too late here": start_overdue(of(S.QUEUED, finish_by=NOW), LATER),
        "cancelled there": cancel_answered(of(S.CANCELLING), CancelDone(), LATER, rules()),
        "too late there": run_overdue(of(S.RUNNING), LATER, CancelDone()),
        "found cancelled": collected(of(S.COLLECTING), Cancelled(None, TIMES), LATER, rules()),
        "failed": collected(of(S.COLLECTING), Failed(fault(), FREE, TIMES), LATER, rules()),
        "failed late": late_result(of(S.EXPIRED), Failed(fault(), FREE, TIMES), LATER, rules()),
        "cancelled late": late_result(of(S.EXPIRED), Cancelled(FREE, TIMES), LATER, rules()),
        "a cost of nought": cost_read(of(S.FAILED), Failed(fault(), FREE, TIMES), LATER, rules()),
    }


@pytest.mark.parametrize("end", free_ends(0))
@pytest.mark.parametrize(("approved", "billed"), [(0, Billed.NO), (1, Billed.UNKNOWN)])
def test_what_was_sent_once_may_be_free_and_twice_is_unknown(
    end: str, approved: int, billed: Billed
) -> None:
    move = free_ends(approved)[end]
    assert isinstance(move, Move)
    assert move.after.billed is billed


@pytest.mark.parametrize("approved", [0, 1])
def test_what_cost_something_is_billed_whatever_went_before(approved: int) -> None:
    for answer in (
        Completed({}, COST, TIMES),
        Failed(fault(), COST, TIMES),
        Cancelled(COST, TIMES),
    ):
        move = collected(job(S.COLLECTING, resends_approved=approved), answer, LATER, rules())
        assert isinstance(move, Move)
        assert (move.after.billed, move.after.cost) == (Billed.YES, COST)
