"""What becomes of a job whose step raises an exception again and again."""

from datetime import timedelta

import pytest

from core.jobs.job import BillingStatus, FollowUp, Job, JobState, Trigger
from tests.support.records import NOW, POLICY, SECOND, job, rules
from worker.jobs.decisions.step_failure import decide_step_failure

S = JobState
LAST = POLICY.max_step_failures - 1
OPEN = (
    S.QUEUED,
    S.SUBMITTING,
    S.IN_DOUBT,
    S.RUNNING,
    S.CANCELLING,
    S.COLLECTING,
    S.ARCHIVING,
    S.FOLLOWING,
)


def failed(state: JobState, failures: int) -> Job:
    before = job(state, step_failures=failures, upstream_id="up-1" if state in PAID else None)
    return decide_step_failure(before, "ValueError: odd", NOW, rules()).after


PAID = (S.RUNNING, S.CANCELLING, S.COLLECTING, S.ARCHIVING)


@pytest.mark.parametrize("state", OPEN)
def test_a_step_that_fails_runs_again_later(state: JobState) -> None:
    after = failed(state, 0)
    assert (after.state, after.step_failures) == (state, 1)
    assert after.next_run_at is not None
    assert after.next_run_at >= NOW + SECOND * 0.8


ENDS = {
    S.QUEUED: (S.FAILED, BillingStatus.NO, None),
    S.FOLLOWING: (S.FAILED, BillingStatus.NO, None),
    S.SUBMITTING: (S.IN_DOUBT, BillingStatus.UNKNOWN, None),
    S.IN_DOUBT: (S.FAILED, BillingStatus.UNKNOWN, None),
    S.RUNNING: (S.FAILED, BillingStatus.UNKNOWN, FollowUp.AWAIT_LATE_RESULT),
    S.CANCELLING: (S.FAILED, BillingStatus.UNKNOWN, FollowUp.AWAIT_LATE_RESULT),
    S.COLLECTING: (S.FAILED, BillingStatus.UNKNOWN, FollowUp.AWAIT_LATE_RESULT),
    # Its output is stored: a paid result is never given up for the sake of its copy.
    S.ARCHIVING: (S.ARCHIVING, BillingStatus.UNKNOWN, None),
}


def test_every_open_state_has_an_end() -> None:
    assert set(ENDS) == set(OPEN)


@pytest.mark.parametrize("state", OPEN)
def test_a_step_that_fails_too_often_ends_its_job(state: JobState) -> None:
    after = failed(state, LAST)
    assert (after.state, after.billed, after.follow_up) == ENDS[state]
    if after.is_final:
        assert after.error is not None
        assert after.error.code == "step_failed"


def test_a_result_that_may_be_paid_for_is_awaited_as_long_as_any_late_one() -> None:
    ended = job(S.FAILED, finished_at=NOW, follow_up=FollowUp.AWAIT_LATE_RESULT, step_failures=99)
    soon = decide_step_failure(ended, "odd", NOW + timedelta(hours=1), rules()).after
    assert (soon.follow_up, soon.next_run_at is None) == (FollowUp.AWAIT_LATE_RESULT, False)
    late = decide_step_failure(ended, "odd", NOW + POLICY.late_result_timeout, rules()).after
    assert (late.follow_up, late.next_run_at) == (None, None)


def test_another_state_counts_from_zero() -> None:
    after = job(S.RUNNING, step_failures=3).transition(Trigger.FINISHED, NOW)
    assert after.step_failures == 0
