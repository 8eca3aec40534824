"""Before RunComfy has accepted a job: claims, every answer to a submit, in doubt and resolved."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from core.jobs.job import BillingStatus, CancelOutcome, Job, JobState, Trigger
from core.jobs.timeline import TimelineKind
from core.tenants.tenant import DoubtPolicy
from core.transactions.job_update import Change
from tests.support.records import MINUTE, NOW, POLICY, SECOND, at, fault, job, rules
from worker.jobs.decisions.submit import (
    claim_submit,
    decide_expired_hold,
    decide_submit,
    end_before_submit,
    submit_deadline,
)
from worker.ports import (
    Accepted,
    Indeterminate,
    NotSent,
    RefusalScope,
    Rejected,
    SubmitAnswer,
)

S, F = JobState, Trigger
LATER = at(1)
HOLD, FAIL, RESEND = DoubtPolicy.HOLD, DoubtPolicy.FAIL, DoubtPolicy.RESEND
BUSY = fault("throttled", 429)
REFUSED = Rejected(fault("invalid_input", 422))


def answered(
    record: Job, answer: SubmitAnswer, doubt: DoubtPolicy = HOLD, now: datetime = LATER
) -> Change:
    return decide_submit(record, answer, doubt, now, rules())


def resent(state: JobState, **changes: Any) -> Job:  # noqa: ANN401 - fields of the record
    """A job with an approved second submit; the outcome of the first is unknown."""
    attempts = 1 if state is S.QUEUED else 2
    known: dict[str, Any] = {
        "attempts": attempts,
        "resends_approved": 1,
        "billed": BillingStatus.UNKNOWN,
    }
    return job(state, **known | changes)


def test_a_claim_writes_the_intent_before_anything_leaves() -> None:
    move = claim_submit(job(billed=BillingStatus.NO), LATER, rules())
    after = move.after
    assert (after.state, move.trigger) == (S.SUBMITTING, F.CLAIMED)
    assert (after.attempts, after.lease_holder, after.sent_at) == (1, "worker-a", LATER)
    assert after.next_run_at == LATER + POLICY.lease
    assert after.billed is BillingStatus.UNKNOWN
    assert move.entry is not None
    assert (move.entry.kind, move.entry.code, move.entry.at) == (
        TimelineKind.TRANSITION,
        "claimed",
        LATER,
    )


def test_a_claim_after_a_resend_is_the_second_submit() -> None:
    assert claim_submit(resent(S.QUEUED), LATER, rules()).after.attempts == 2


# --- a job that waits with us

WAITING: dict[str, tuple[Job, JobState | None, str | None, BillingStatus]] = {
    "no limits": (job(), None, None, BillingStatus.NO),
    "in time": (job(start_deadline=at(1.1), deadline=at(2)), None, None, BillingStatus.NO),
    "too late to start": (job(start_deadline=at(1)), S.EXPIRED, "start_timeout", BillingStatus.NO),
    "too late to end": (job(deadline=at(1)), S.EXPIRED, "start_timeout", BillingStatus.NO),
    "either": (
        job(start_deadline=at(9), deadline=at(1)),
        S.EXPIRED,
        "start_timeout",
        BillingStatus.NO,
    ),
    "cancelled": (job(cancel_requested_at=NOW), S.CANCELLED, None, BillingStatus.NO),
    "cancelled and late": (
        job(cancel_requested_at=NOW, start_deadline=NOW),
        S.CANCELLED,
        None,
        BillingStatus.NO,
    ),
    "a resend, start_by over": (
        resent(S.QUEUED, start_deadline=NOW),
        None,
        None,
        BillingStatus.UNKNOWN,
    ),
    "a resend, too late": (
        resent(S.QUEUED, deadline=NOW),
        S.EXPIRED,
        "timeout",
        BillingStatus.UNKNOWN,
    ),
    "a resend, cancelled": (
        resent(S.QUEUED, cancel_requested_at=NOW),
        S.CANCELLED,
        None,
        BillingStatus.UNKNOWN,
    ),
}


@pytest.mark.parametrize(("record", "state", "code", "billed"), WAITING.values(), ids=WAITING)
def test_what_ends_a_job_that_waits_with_us(
    record: Job, state: JobState | None, code: str | None, billed: BillingStatus
) -> None:
    move = end_before_submit(record, LATER)
    if state is None:
        assert move is None
        return
    assert move is not None
    after = move.after
    assert (after.state, after.billed, after.next_run_at) == (state, billed, None)
    assert after.finished_at == LATER
    assert (after.error.code if after.error else None) == code
    assert after.follow_up is None


def test_a_cancel_that_waited_keeps_its_instant_and_is_told_as_done() -> None:
    move = end_before_submit(job(cancel_requested_at=NOW), LATER)
    assert move is not None
    assert move.after.cancel_requested_at == NOW
    assert move.after.cancel_outcome is CancelOutcome.CANCELLED


def test_how_long_a_job_may_wait() -> None:
    assert submit_deadline(job()) is None
    assert submit_deadline(job(start_deadline=at(5))) == at(5)
    assert submit_deadline(job(start_deadline=at(5), deadline=at(4))) == at(4)
    assert submit_deadline(resent(S.QUEUED, start_deadline=at(5), deadline=at(9))) == at(9)
    assert submit_deadline(resent(S.QUEUED, start_deadline=at(5))) is None


# --- answers

# The answer -> the state, what it says of money, the error's word.
ANSWERS: dict[str, tuple[SubmitAnswer, JobState, BillingStatus, str | None]] = {
    "accepted": (Accepted("up-9"), S.RUNNING, BillingStatus.UNKNOWN, None),
    "not sent": (NotSent(BUSY), S.QUEUED, BillingStatus.NO, None),
    "rejected": (REFUSED, S.FAILED, BillingStatus.NO, "upstream_rejected"),
    "model": (
        Rejected(fault(), RefusalScope.MODEL),
        S.FAILED,
        BillingStatus.NO,
        "upstream_model_refused",
    ),
    "a page": (
        Rejected(fault(), RefusalScope.NONE),
        S.FAILED,
        BillingStatus.NO,
        "upstream_rejected",
    ),
    "no answer": (Indeterminate(fault()), S.IN_DOUBT, BillingStatus.UNKNOWN, None),
}


@pytest.mark.parametrize("state", [S.SUBMITTING, S.IN_DOUBT])
@pytest.mark.parametrize(("answer", "following", "billed", "code"), ANSWERS.values(), ids=ANSWERS)
def test_what_an_answer_means_in_time_and_late(
    state: JobState,
    answer: SubmitAnswer,
    following: JobState,
    billed: BillingStatus,
    code: str | None,
) -> None:
    if state is S.IN_DOUBT and isinstance(answer, Indeterminate):
        return  # doubt upon doubt is no fact: the lifecycle asks the table first
    after = answered(job(state), answer).after
    assert (after.state, after.billed) == (following, billed)
    assert (after.error.code if after.error else None) == code
    assert (after.cost, after.late, after.follow_up) == (None, False, None)


@pytest.mark.parametrize("answer", [NotSent(BUSY), REFUSED], ids=["not sent", "rejected"])
def test_what_a_resend_meets_says_nothing_of_the_first_submit(answer: SubmitAnswer) -> None:
    assert answered(resent(S.SUBMITTING), answer).after.billed is BillingStatus.UNKNOWN


def test_acceptance_keeps_runcomfys_id_and_looks_soon() -> None:
    move = answered(job(S.SUBMITTING, send_failures=3), Accepted("up-9"))
    after = move.after
    assert (after.upstream_id, after.running_since) == ("up-9", LATER)
    assert after.next_run_at == LATER + POLICY.initial_poll_delay
    assert (after.send_failures, after.read_attempts, after.upstream_running) == (0, 0, False)
    assert (move.trigger, move.entry and move.entry.detail) == (F.ACCEPTED, "up-9")


def test_the_first_look_is_no_later_than_the_jobs_own_end() -> None:
    assert answered(job(S.SUBMITTING, deadline=at(2)), Accepted("up-9")).after.next_run_at == at(2)


def test_a_late_acceptance_ends_the_doubt() -> None:
    after = answered(job(S.IN_DOUBT), Accepted("up-9")).after
    assert (after.state, after.in_doubt_since) == (S.RUNNING, None)


def test_a_resend_that_waits_takes_the_first_submits_acceptance() -> None:
    after = answered(resent(S.QUEUED), Accepted("up-9")).after
    assert (after.state, after.upstream_id) == (S.RUNNING, "up-9")


@pytest.mark.parametrize("wish", [job(S.SUBMITTING), job(S.IN_DOUBT)], ids=["submitting", "doubt"])
def test_a_wish_to_cancel_is_passed_on_the_moment_it_is_accepted(wish: Job) -> None:
    record = job(wish.state, cancel_requested_at=NOW, cancel_outcome=CancelOutcome.REQUESTED)
    after = answered(record, Accepted("up-9")).after
    assert after.next_run_at == LATER
    assert after.cancel_outcome is CancelOutcome.REQUESTED


def test_a_wish_to_cancel_ends_a_job_that_did_not_leave() -> None:
    after = answered(job(S.SUBMITTING, cancel_requested_at=NOW), NotSent(BUSY, 10 * MINUTE)).after
    assert (after.state, after.next_run_at) == (S.QUEUED, LATER)
    following = end_before_submit(after, LATER)
    assert following is not None
    assert (following.after.state, following.after.billed) == (S.CANCELLED, BillingStatus.NO)


@pytest.mark.parametrize(
    ("before", "retry_after", "wait"),
    [
        (0, None, SECOND),
        (1, None, 2 * SECOND),
        (5, None, 32 * SECOND),
        (9, None, MINUTE),
        (0, 20 * SECOND, 20 * SECOND),
        (5, 20 * SECOND, 32 * SECOND),
    ],
)
def test_a_submit_that_did_not_leave_is_tried_again(
    before: int, retry_after: timedelta | None, wait: timedelta
) -> None:
    move = answered(job(S.SUBMITTING, send_failures=before), NotSent(BUSY, retry_after))
    after = move.after
    assert after.next_run_at == LATER + wait
    assert (after.attempts, after.send_failures, after.sent_at) == (0, before + 1, None)
    assert move.entry is not None
    assert (move.entry.kind, move.entry.http_status) == (TimelineKind.UPSTREAM, 429)
    assert move.entry.detail == "throttled: RunComfy says throttled"


def test_a_retry_waits_no_longer_than_the_job_may() -> None:
    patient = NotSent(BUSY, 10 * MINUTE)
    assert answered(job(S.SUBMITTING, start_deadline=at(5)), patient).after.next_run_at == at(5)
    assert answered(job(S.SUBMITTING, deadline=at(4)), patient).after.next_run_at == at(4)
    assert answered(resent(S.SUBMITTING, start_deadline=NOW), patient).after.next_run_at == at(601)


def test_a_rejection_tells_runcomfys_own_words() -> None:
    move = answered(job(S.SUBMITTING), REFUSED)
    assert move.after.error is not None
    assert move.after.error.message == "RunComfy says invalid_input"
    assert (move.after.finished_at, move.after.next_run_at) == (LATER, None)
    assert move.entry is not None
    assert move.entry.http_status == 422


# --- doubt


@pytest.mark.parametrize(
    ("policy", "due"), [(HOLD, LATER + POLICY.doubt_hold), (FAIL, LATER), (RESEND, LATER)]
)
def test_how_long_a_doubt_waits_for_a_person(policy: DoubtPolicy, due: datetime) -> None:
    move = answered(job(S.SUBMITTING), Indeterminate(fault()), policy)
    assert (move.after.in_doubt_since, move.after.next_run_at) == (LATER, due)
    assert (move.trigger, move.after.follow_up) == (F.NO_ANSWER, None)
    assert answered(
        job(S.SUBMITTING, deadline=at(2)), Indeterminate(fault()), policy
    ).after.next_run_at == min(due, at(2))


# The policy, the record -> the fact, the state.
OVERDUE: dict[str, tuple[DoubtPolicy, Job, Trigger, JobState]] = {
    "hold": (HOLD, job(S.IN_DOUBT), F.MARKED_LOST, S.FAILED),
    "fail": (FAIL, job(S.IN_DOUBT), F.MARKED_LOST, S.FAILED),
    "resend": (RESEND, job(S.IN_DOUBT), F.RESEND_APPROVED, S.QUEUED),
    "resend, in time": (RESEND, job(S.IN_DOUBT, deadline=at(2)), F.RESEND_APPROVED, S.QUEUED),
    "resend, once only": (RESEND, resent(S.IN_DOUBT), F.MARKED_LOST, S.FAILED),
    "resend, too late": (RESEND, job(S.IN_DOUBT, deadline=at(1)), F.DEADLINE_EXCEEDED, S.FAILED),
    "hold, too late": (HOLD, job(S.IN_DOUBT, deadline=at(1)), F.DEADLINE_EXCEEDED, S.FAILED),
}


@pytest.mark.parametrize(("policy", "record", "fact", "state"), OVERDUE.values(), ids=OVERDUE)
def test_what_ends_a_doubt_that_nobody_resolves(
    policy: DoubtPolicy, record: Job, fact: Trigger, state: JobState
) -> None:
    move = decide_expired_hold(record, policy, LATER)
    assert (move.trigger, move.after.state) == (fact, state)
    assert move.after.billed is BillingStatus.UNKNOWN
    if state is S.FAILED:
        assert move.after.error is not None
        assert move.after.error.code == "submit_in_doubt"
        assert (move.after.finished_at, move.after.next_run_at) == (LATER, None)
    else:
        assert (move.after.resends_approved, move.after.next_run_at) == (1, LATER)
        assert (move.after.in_doubt_since, move.after.attempts) == (None, 1)
        assert move.entry is not None
        assert move.entry.kind is TimelineKind.OPERATOR


def test_a_policy_of_resending_resends_exactly_once() -> None:
    record, sent = job(), 0
    for _ in range(9):
        record = claim_submit(record, LATER, rules()).after
        sent += 1
        record = answered(record, Indeterminate(fault()), RESEND).after
        record = decide_expired_hold(record, RESEND, LATER).after
        if record.is_final:
            break
    assert (record.state, sent) == (S.FAILED, 2)
