"""While RunComfy has a job: polls, cancels, deadlines, outages."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from core.jobs.job import Billed, CancelOutcome, Errand, Fact, Job, JobState, PublicStatus
from core.jobs.timeline import Note
from tests.builders import HOUR, NOW, POLICY, SECOND, at, fault, job, rules
from worker.jobs.decisions.poll import cancel_answered, cancel_passed_on, polled, run_overdue
from worker.jobs.decisions.transition import Move, Wait
from worker.ports import (
    CancelAnswer,
    CancelDone,
    Ended,
    Gone,
    NotCancellable,
    Open,
    StatusAnswer,
    Unreachable,
)

if TYPE_CHECKING:
    from datetime import timedelta

S, F = JobState, Fact
LATER = at(1)
RUNS = Open(in_progress=True, word="in_progress")
GONE = Gone(fault("gone", 404))
DOWN = Unreachable(fault("server_error", 502))
RUNNING = job(S.RUNNING, upstream_word="in_progress", upstream_running=True)
CANCELLING = job(
    S.CANCELLING, cancel_asked_at=NOW, cancel_outcome=CancelOutcome.REQUESTED, upstream_word="q"
)


def moved(decided: Move | Wait) -> Move:
    assert isinstance(decided, Move)
    return decided


def poll(record: Job, answer: StatusAnswer, seconds: float = 1) -> Move | Wait:
    return polled(record, answer, at(seconds), rules())


def cancel(record: Job, answer: CancelAnswer, seconds: float = 1) -> Move | Wait:
    return cancel_answered(record, answer, at(seconds), rules())


# --- polls


def test_news_of_a_running_job_is_kept_and_told() -> None:
    move = moved(poll(job(S.RUNNING), Open(False, "in_queue", queue_position=4)))  # noqa: FBT003 - a field
    after = move.after
    assert (after.state, move.fact) == (S.RUNNING, F.STILL_RUNNING)
    assert (after.upstream_word, after.upstream_running, after.queue_position) == (
        "in_queue",
        False,
        4,
    )
    assert after.status is PublicStatus.IN_QUEUE
    assert move.entry is not None
    assert (move.entry.note, move.entry.what) == (Note.UPSTREAM, "in_queue")
    runs = moved(poll(after, RUNS, 2)).after
    assert (runs.status, runs.queue_position) == (PublicStatus.IN_PROGRESS, None)


def test_a_place_that_moved_is_kept_without_a_line() -> None:
    waiting = job(S.RUNNING, upstream_word="in_queue", queue_position=4)
    move = moved(poll(waiting, Open(False, "in_queue", queue_position=3)))  # noqa: FBT003 - a field
    assert (move.after.queue_position, move.entry) == (3, None)


def test_no_news_is_only_waited_for() -> None:
    assert poll(RUNNING, RUNS) == Wait(LATER + SECOND)


@pytest.mark.parametrize(("elapsed", "wait"), [(0, 1), (20, 2), (50, 5), (100, 10), (3600, 15)])
def test_polls_grow_rarer(elapsed: int, wait: int) -> None:
    assert poll(RUNNING, RUNS, elapsed) == Wait(at(elapsed + wait))


def test_the_last_poll_is_at_the_jobs_end() -> None:
    assert poll(replace(RUNNING, finish_by=at(2)), RUNS) == Wait(at(2))
    assert moved(poll(job(S.RUNNING, finish_by=at(2)), RUNS)).after.due_at == at(2)


@pytest.mark.parametrize("running", [True, False])
def test_a_word_that_nobody_documented_leaves_the_phase_alone(*, running: bool) -> None:
    before = job(S.RUNNING, upstream_word="known", upstream_running=running)
    move = moved(poll(before, Open(in_progress=False, word="warming_up", known=False)))
    assert (move.after.upstream_word, move.after.upstream_running) == ("warming_up", running)
    assert move.after.status is before.status
    assert move.entry is not None
    assert move.entry.what == "warming_up"
    again = poll(move.after, Open(in_progress=False, word="warming_up", known=False), 2)
    assert isinstance(again, Wait)


def test_an_end_is_collected_at_once_under_a_lease() -> None:
    troubled = replace(RUNNING, trouble="timeout", trouble_since=NOW, tries=3)
    move = moved(poll(troubled, Ended("completed")))
    after = move.after
    assert (after.state, move.fact, after.upstream_word) == (S.COLLECTING, F.FINISHED, "completed")
    assert after.due_at == LATER + POLICY.lease
    assert (after.trouble, after.trouble_since, after.tries) == (None, None, 0)
    assert after.finished_at is None


# --- outages


@pytest.mark.parametrize("record", [RUNNING, CANCELLING], ids=["running", "cancelling"])
def test_an_outage_is_shown_once_and_then_waited_out(record: Job) -> None:
    decide = poll if record.state is S.RUNNING else cancel
    move = moved(decide(record, DOWN, 1))
    assert (move.after.state, move.fact) == (record.state, None)
    assert (move.after.trouble, move.after.trouble_since) == ("server_error", at(1))
    assert move.after.due_at == at(3)
    assert move.entry is not None
    assert (move.entry.what, move.entry.http_status) == ("server_error", 502)
    assert decide(move.after, DOWN, 101) == Wait(at(101 + 30))
    assert decide(move.after, DOWN, 3601) == Wait(at(3601 + 60))


def test_an_outage_that_changes_is_one_outage_with_a_new_line() -> None:
    down = moved(poll(RUNNING, DOWN)).after
    move = moved(poll(down, Unreachable(fault("timeout", None)), 11))
    assert (move.after.trouble, move.after.trouble_since) == ("timeout", at(1))
    assert move.entry is not None
    assert move.entry.what == "timeout"


def test_the_first_good_answer_clears_an_outage_though_nothing_else_is_new() -> None:
    down = moved(poll(RUNNING, DOWN)).after
    move = moved(poll(down, RUNS, 11))
    assert (move.after.trouble, move.after.trouble_since, move.after.tries) == (None, None, 0)
    assert move.entry is not None
    assert move.entry.what == "in_progress"
    assert isinstance(poll(move.after, RUNS, 12), Wait)


@pytest.mark.parametrize(("asked", "wait"), [(SECOND, 2 * SECOND), (HOUR, HOUR)])
def test_runcomfys_own_pause_is_honoured(asked: timedelta, wait: timedelta) -> None:
    slow = Unreachable(fault("throttled", 429), asked)
    assert moved(poll(RUNNING, slow)).after.due_at == LATER + wait
    assert moved(poll(replace(RUNNING, finish_by=at(9)), slow)).after.due_at == min(
        LATER + wait, at(9)
    )


# --- 404

# Known since, in trouble since, what trouble -> believed at second 100?
PATIENCE: dict[str, tuple[float, float | None, str | None, bool]] = {
    "the first one": (0, None, None, False),
    "a young id": (50, 51, "gone", False),
    "not long enough": (0, 40.5, "gone", False),
    "long enough": (0, 40, "gone", True),
    "the first one after an outage": (0, 10, "server_error", False),
}


POLICY_LOOKS = POLICY.gone_looks


def test_a_404_on_both_sides_of_an_outage_of_the_store_is_not_believed() -> None:
    """Found by simulation: a minute had passed, in which nobody had looked."""
    record = job(S.RUNNING, running_since=at(0), trouble="gone", trouble_since=at(10), tries=0)
    for looks in range(1, POLICY_LOOKS):
        decided = poll(record, GONE, 200 + looks)
        assert isinstance(decided, Move)
        record = decided.after
        assert (record.state, record.tries) == (S.RUNNING, looks)
    assert moved(poll(record, GONE, 300)).after.state is S.FAILED


@pytest.mark.parametrize("state", [S.RUNNING, S.CANCELLING])
@pytest.mark.parametrize(("known", "since", "kind", "believed"), PATIENCE.values(), ids=PATIENCE)
def test_a_404_is_believed_after_a_while(
    state: JobState, known: float, since: float | None, kind: str | None, *, believed: bool
) -> None:
    record = job(
        state,
        running_since=at(known),
        trouble=kind,
        trouble_since=None if since is None else at(since),
        tries=POLICY_LOOKS - 1,
    )
    decided = poll(record, GONE, 100) if state is S.RUNNING else cancel(record, GONE, 100)
    if not believed:
        assert isinstance(decided, Wait) or decided.after.state is state
        return
    after = moved(decided).after
    assert (after.state, after.billed, after.finished_at) == (S.FAILED, Billed.UNKNOWN, at(100))
    assert after.error is not None
    assert after.error.code == "upstream_lost"
    assert (after.errand, after.due_at) == (None, None)


# --- cancels


def test_a_wish_from_before_becomes_a_cancel() -> None:
    wish = replace(RUNNING, cancel_asked_at=NOW, cancel_outcome=CancelOutcome.REQUESTED)
    move = cancel_passed_on(wish, LATER)
    assert (move.after.state, move.after.due_at, move.fact) == (
        S.CANCELLING,
        LATER,
        F.CANCEL_ASKED,
    )
    assert move.after.cancel_asked_at == NOW
    assert cancel_passed_on(RUNNING, LATER).after.cancel_asked_at == LATER


def test_a_cancel_that_runcomfy_did_is_free() -> None:
    move = moved(cancel(CANCELLING, CancelDone()))
    after = move.after
    assert (after.state, after.billed, after.finished_at) == (S.CANCELLED, Billed.NO, LATER)
    assert (after.cancel_outcome, after.due_at) == (CancelOutcome.CANCELLED, None)
    assert after.error is None


def test_a_cancel_that_runcomfy_refused_lets_the_job_go_on() -> None:
    move = moved(cancel(CANCELLING, NotCancellable()))
    after = move.after
    assert (after.state, after.due_at) == (S.RUNNING, LATER)
    assert after.cancel_outcome is CancelOutcome.NOT_CANCELLABLE
    assert move.entry is not None
    assert move.entry.what == "not_cancellable"


def test_a_cancel_whose_answer_was_lost_is_asked_again() -> None:
    after = moved(cancel(CANCELLING, DOWN)).after
    assert (after.state, after.cancel_outcome) == (S.CANCELLING, CancelOutcome.REQUESTED)
    assert after.due_at == at(3)


# --- the deadline


@pytest.mark.parametrize("record", [RUNNING, CANCELLING], ids=["running", "cancelling"])
@pytest.mark.parametrize("asked", [NotCancellable(), GONE, DOWN], ids=type)
def test_out_of_time_may_be_billed_and_is_watched(record: Job, asked: CancelAnswer) -> None:
    move = run_overdue(record, LATER, asked)
    after = move.after
    assert (after.state, move.fact, after.billed) == (S.EXPIRED, F.OUT_OF_TIME, Billed.UNKNOWN)
    assert (after.errand, after.due_at) == (Errand.AWAIT_LATE_RESULT, LATER)
    assert after.finished_at == LATER
    assert after.error is not None
    assert after.error.code == "timeout"


def test_out_of_time_and_cancelled_is_free_and_over() -> None:
    after = run_overdue(RUNNING, LATER, CancelDone()).after
    assert (after.state, after.billed) == (S.EXPIRED, Billed.NO)
    assert (after.errand, after.due_at) == (None, None)
