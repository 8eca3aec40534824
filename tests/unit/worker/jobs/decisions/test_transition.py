"""`billed` in every final state: a job that was sent twice is never reported as free."""

import pytest

from core.jobs.job import BillingStatus, CancelOutcome, Job, JobState
from core.money import MicroUsd
from core.tenants.tenant import DoubtPolicy
from core.transactions.job_update import Change
from tests.support.records import NOW, at, fault, job, rules
from worker.jobs.decisions.after_end import decide_cost_read, decide_late_result
from worker.jobs.decisions.fetch_result import decide_result
from worker.jobs.decisions.poll import decide_cancel, expire_running
from worker.jobs.decisions.submit import decide_submit, end_before_submit
from worker.jobs.decisions.transition import Reschedule
from worker.ports import (
    NotSent,
    Rejected,
    RunCancelled,
    RunCompleted,
    RunFailed,
    SubmitAnswer,
    UpstreamTimes,
)

S = JobState
LATER = at(1)
TIMES = UpstreamTimes()
FREE, COST = MicroUsd(0), MicroUsd(840_000)


def answered(record: Job, answer: SubmitAnswer) -> Change:
    return decide_submit(record, answer, DoubtPolicy.HOLD, LATER, rules())


def free_ends(approved: int) -> dict[str, Change | Reschedule | None]:
    """Every final state that costs nothing by itself, for a job with this many approved resends."""

    def of(state: JobState, **changes: object) -> Job:
        return job(state, resends_approved=approved, **changes)

    return {
        "not sent": answered(of(S.SUBMITTING), NotSent(fault())),
        "rejected": answered(of(S.SUBMITTING), Rejected(fault())),
        "cancelled here": end_before_submit(of(S.QUEUED, cancel_requested_at=NOW), LATER),
        "too late here": end_before_submit(of(S.QUEUED, deadline=NOW), LATER),
        "cancelled there": decide_cancel(of(S.CANCELLING), CancelOutcome.CANCELLED, LATER, rules()),
        "too late there": expire_running(of(S.RUNNING), LATER, CancelOutcome.CANCELLED),
        "found cancelled": decide_result(
            of(S.COLLECTING), RunCancelled(None, TIMES), LATER, rules()
        ),
        "failed": decide_result(of(S.COLLECTING), RunFailed(fault(), FREE, TIMES), LATER, rules()),
        "failed late": decide_late_result(
            of(S.EXPIRED), RunFailed(fault(), FREE, TIMES), LATER, rules()
        ),
        "cancelled late": decide_late_result(
            of(S.EXPIRED), RunCancelled(FREE, TIMES), LATER, rules()
        ),
        "a cost of nought": decide_cost_read(
            of(S.FAILED), RunFailed(fault(), FREE, TIMES), LATER, rules()
        ),
    }


@pytest.mark.parametrize("end", free_ends(0))
@pytest.mark.parametrize(
    ("approved", "billed"), [(0, BillingStatus.NO), (1, BillingStatus.UNKNOWN)]
)
def test_what_was_sent_once_may_be_free_and_twice_is_unknown(
    end: str, approved: int, billed: BillingStatus
) -> None:
    move = free_ends(approved)[end]
    assert isinstance(move, Change)
    assert move.after.billed is billed


@pytest.mark.parametrize("approved", [0, 1])
def test_what_cost_something_is_billed_whatever_went_before(approved: int) -> None:
    for answer in (
        RunCompleted(b"{}", COST, TIMES),
        RunFailed(fault(), COST, TIMES),
        RunCancelled(COST, TIMES),
    ):
        move = decide_result(job(S.COLLECTING, resends_approved=approved), answer, LATER, rules())
        assert isinstance(move, Change)
        assert (move.after.billed, move.after.cost) == (BillingStatus.YES, COST)
