"""While RunComfy has a job: polls, cancels, deadlines, outages."""

from dataclasses import replace
from datetime import timedelta

import pytest

from core.jobs.job import (
    BillingStatus,
    CancelOutcome,
    FollowUp,
    Job,
    JobState,
    PublicStatus,
    Trigger,
)
from core.jobs.timeline import TimelineKind
from core.transactions.job_update import Change
from tests.support.records import HOUR, NOW, POLICY, SECOND, at, fault, job, rules
from tests.support.worker import assert_change
from worker.jobs.decisions.poll import decide_cancel, decide_poll, expire_running, forward_cancel
from worker.jobs.decisions.transition import Reschedule
from worker.ports import (
    CancelAnswer,
    Finished,
    InProgress,
    RequestNotFound,
    StatusAnswer,
    Unreachable,
)

S, F = JobState, Trigger
LATER = at(1)
RUNS = InProgress(is_running=True, status_word="in_progress")
GONE = RequestNotFound(fault("not_found", 404))
DOWN = Unreachable(fault("server_error", 502))
RUNNING = job(S.RUNNING, upstream_status="in_progress", upstream_running=True)
CANCELLING = job(
    S.CANCELLING,
    cancel_requested_at=NOW,
    cancel_outcome=CancelOutcome.REQUESTED,
    upstream_status="q",
)


def poll(record: Job, answer: StatusAnswer, seconds: float = 1) -> Change | Reschedule:
    return decide_poll(record, answer, at(seconds), rules())


def cancel(record: Job, answer: CancelAnswer, seconds: float = 1) -> Change | Reschedule:
    return decide_cancel(record, answer, at(seconds), rules())


# --- polls


def test_news_of_a_running_job_is_kept_and_told() -> None:
    move = assert_change(poll(job(S.RUNNING), InProgress(False, "in_queue", queue_position=4)))  # noqa: FBT003 - a field
    after = move.after
    assert (after.state, move.trigger) == (S.RUNNING, F.STILL_RUNNING)
    assert (after.upstream_status, after.upstream_running, after.queue_position) == (
        "in_queue",
        False,
        4,
    )
    assert after.status is PublicStatus.IN_QUEUE
    assert move.entry is not None
    assert (move.entry.kind, move.entry.code) == (TimelineKind.UPSTREAM, "in_queue")
    runs = assert_change(poll(after, RUNS, 2)).after
    assert (runs.status, runs.queue_position) == (PublicStatus.IN_PROGRESS, None)


def test_a_place_that_moved_is_kept_without_a_line() -> None:
    waiting = job(S.RUNNING, upstream_status="in_queue", queue_position=4)
    move = assert_change(poll(waiting, InProgress(False, "in_queue", queue_position=3)))  # noqa: FBT003 - a field
    assert (move.after.queue_position, move.entry) == (3, None)


def test_no_news_is_only_waited_for() -> None:
    assert poll(RUNNING, RUNS) == Reschedule(RUNNING, LATER + SECOND)


@pytest.mark.parametrize(("elapsed", "wait"), [(0, 1), (20, 2), (50, 5), (100, 10), (3600, 15)])
def test_polls_grow_rarer(elapsed: int, wait: int) -> None:
    assert poll(RUNNING, RUNS, elapsed) == Reschedule(RUNNING, at(elapsed + wait))


def test_the_last_poll_is_at_the_jobs_end() -> None:
    ending = replace(RUNNING, deadline=at(2))
    assert poll(ending, RUNS) == Reschedule(ending, at(2))
    assert assert_change(poll(job(S.RUNNING, deadline=at(2)), RUNS)).after.next_run_at == at(2)


@pytest.mark.parametrize("running", [True, False])
def test_a_word_that_nobody_documented_leaves_the_phase_alone(*, running: bool) -> None:
    before = job(S.RUNNING, upstream_status="known", upstream_running=running)
    move = assert_change(
        poll(before, InProgress(is_running=False, status_word="warming_up", is_documented=False))
    )
    assert (move.after.upstream_status, move.after.upstream_running) == ("warming_up", running)
    assert move.after.status is before.status
    assert move.entry is not None
    assert move.entry.code == "warming_up"
    again = poll(
        move.after, InProgress(is_running=False, status_word="warming_up", is_documented=False), 2
    )
    assert isinstance(again, Reschedule)


def test_an_end_is_collected_at_once_under_a_lease() -> None:
    troubled = replace(RUNNING, upstream_error="timeout", upstream_error_since=NOW, read_attempts=3)
    move = assert_change(poll(troubled, Finished("completed")))
    after = move.after
    assert (after.state, move.trigger, after.upstream_status) == (
        S.COLLECTING,
        F.FINISHED,
        "completed",
    )
    assert after.next_run_at == LATER + POLICY.lease
    assert (after.upstream_error, after.upstream_error_since, after.read_attempts) == (
        None,
        None,
        0,
    )
    assert after.finished_at is None


# --- outages


@pytest.mark.parametrize("record", [RUNNING, CANCELLING], ids=["running", "cancelling"])
def test_an_outage_is_shown_once_and_then_waited_out(record: Job) -> None:
    decide = poll if record.state is S.RUNNING else cancel
    move = assert_change(decide(record, DOWN, 1))
    assert (move.after.state, move.trigger) == (record.state, None)
    assert (move.after.upstream_error, move.after.upstream_error_since) == ("server_error", at(1))
    assert move.after.next_run_at == at(3)
    assert move.entry is not None
    assert (move.entry.code, move.entry.http_status) == ("server_error", 502)
    assert decide(move.after, DOWN, 101) == Reschedule(move.after, at(101 + 30))
    assert decide(move.after, DOWN, 3601) == Reschedule(move.after, at(3601 + 60))


def test_an_outage_that_changes_is_one_outage_with_a_new_line() -> None:
    down = assert_change(poll(RUNNING, DOWN)).after
    move = assert_change(poll(down, Unreachable(fault("timeout", None)), 11))
    assert (move.after.upstream_error, move.after.upstream_error_since) == ("timeout", at(1))
    assert move.entry is not None
    assert move.entry.code == "timeout"


def test_the_first_good_answer_clears_an_outage_though_nothing_else_is_new() -> None:
    down = assert_change(poll(RUNNING, DOWN)).after
    move = assert_change(poll(down, RUNS, 11))
    assert (
        move.after.upstream_error,
        move.after.upstream_error_since,
        move.after.read_attempts,
    ) == (None, None, 0)
    assert move.entry is not None
    assert move.entry.code == "in_progress"
    assert isinstance(poll(move.after, RUNS, 12), Reschedule)


@pytest.mark.parametrize(("asked", "wait"), [(SECOND, 2 * SECOND), (HOUR, HOUR)])
def test_runcomfys_own_pause_is_honoured(asked: timedelta, wait: timedelta) -> None:
    slow = Unreachable(fault("throttled", 429), asked)
    assert assert_change(poll(RUNNING, slow)).after.next_run_at == LATER + wait
    assert assert_change(poll(replace(RUNNING, deadline=at(9)), slow)).after.next_run_at == min(
        LATER + wait, at(9)
    )


# --- 404

# Known since, in trouble since, what trouble -> believed at second 100?
OUTAGE_LIMIT: dict[str, tuple[float, float | None, str | None, bool]] = {
    "the first one": (0, None, None, False),
    "a young id": (50, 51, "not_found", False),
    "not long enough": (0, 40.5, "not_found", False),
    "long enough": (0, 40, "not_found", True),
    "the first one after an outage": (0, 10, "server_error", False),
}


FIXED_POLLS = POLICY.min_not_found_polls


def test_a_404_on_both_sides_of_an_outage_of_the_store_is_not_believed() -> None:
    """Found by simulation: a minute had passed without a poll."""
    record = job(
        S.RUNNING,
        running_since=at(0),
        upstream_error="not_found",
        upstream_error_since=at(10),
        read_attempts=0,
    )
    for looks in range(1, FIXED_POLLS):
        decided = poll(record, GONE, 200 + looks)
        assert isinstance(decided, Change)
        record = decided.after
        assert (record.state, record.read_attempts) == (S.RUNNING, looks)
    assert assert_change(poll(record, GONE, 300)).after.state is S.FAILED


@pytest.mark.parametrize("state", [S.RUNNING, S.CANCELLING])
@pytest.mark.parametrize(
    ("known", "since", "kind", "believed"), OUTAGE_LIMIT.values(), ids=OUTAGE_LIMIT
)
def test_a_404_is_believed_after_a_while(
    state: JobState, known: float, since: float | None, kind: str | None, *, believed: bool
) -> None:
    record = job(
        state,
        running_since=at(known),
        upstream_error=kind,
        upstream_error_since=None if since is None else at(since),
        read_attempts=FIXED_POLLS - 1,
    )
    decided = poll(record, GONE, 100) if state is S.RUNNING else cancel(record, GONE, 100)
    if not believed:
        assert isinstance(decided, Reschedule) or decided.after.state is state
        return
    after = assert_change(decided).after
    assert (after.state, after.billed, after.finished_at) == (
        S.FAILED,
        BillingStatus.UNKNOWN,
        at(100),
    )
    assert after.error is not None
    assert after.error.code == "upstream_lost"
    assert (after.follow_up, after.next_run_at) == (None, None)


# --- cancels


def test_a_wish_from_before_becomes_a_cancel() -> None:
    wish = replace(RUNNING, cancel_requested_at=NOW, cancel_outcome=CancelOutcome.REQUESTED)
    move = forward_cancel(wish, LATER)
    assert (move.after.state, move.after.next_run_at, move.trigger) == (
        S.CANCELLING,
        LATER,
        F.CANCEL_REQUESTED,
    )
    assert move.after.cancel_requested_at == NOW
    assert forward_cancel(RUNNING, LATER).after.cancel_requested_at == LATER


def test_a_cancel_that_runcomfy_did_is_free() -> None:
    move = assert_change(cancel(CANCELLING, CancelOutcome.CANCELLED))
    after = move.after
    assert (after.state, after.billed, after.finished_at) == (S.CANCELLED, BillingStatus.NO, LATER)
    assert (after.cancel_outcome, after.next_run_at) == (CancelOutcome.CANCELLED, None)
    assert after.error is None


def test_a_cancel_that_runcomfy_refused_lets_the_job_go_on() -> None:
    move = assert_change(cancel(CANCELLING, CancelOutcome.NOT_CANCELLABLE))
    after = move.after
    assert (after.state, after.next_run_at) == (S.RUNNING, LATER)
    assert after.cancel_outcome is CancelOutcome.NOT_CANCELLABLE
    assert move.entry is not None
    assert move.entry.code == "not_cancellable"


def test_a_cancel_whose_answer_was_lost_is_asked_again() -> None:
    after = assert_change(cancel(CANCELLING, DOWN)).after
    assert (after.state, after.cancel_outcome) == (S.CANCELLING, CancelOutcome.REQUESTED)
    assert after.next_run_at == at(3)


# --- the deadline


@pytest.mark.parametrize("record", [RUNNING, CANCELLING], ids=["running", "cancelling"])
@pytest.mark.parametrize("asked", [CancelOutcome.NOT_CANCELLABLE, GONE, DOWN], ids=type)
def test_out_of_time_may_be_billed_and_is_watched(record: Job, asked: CancelAnswer) -> None:
    move = expire_running(record, LATER, asked)
    after = move.after
    assert (after.state, move.trigger, after.billed) == (
        S.EXPIRED,
        F.DEADLINE_EXCEEDED,
        BillingStatus.UNKNOWN,
    )
    assert (after.follow_up, after.next_run_at) == (FollowUp.AWAIT_LATE_RESULT, LATER)
    assert after.finished_at == LATER
    assert after.error is not None
    assert after.error.code == "timeout"


def test_out_of_time_and_cancelled_is_free_and_over() -> None:
    after = expire_running(RUNNING, LATER, CancelOutcome.CANCELLED).after
    assert (after.state, after.billed) == (S.EXPIRED, BillingStatus.NO)
    assert (after.follow_up, after.next_run_at) == (None, None)
