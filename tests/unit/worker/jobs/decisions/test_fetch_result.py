"""The effect of each result on a job that RunComfy reports as completed."""

from dataclasses import replace

import pytest

from core.jobs.job import BillingStatus, CancelOutcome, FollowUp, Job, JobState, Trigger
from core.jobs.timeline import TimelineKind
from core.money import MicroUsd
from core.transactions.job_update import Change
from tests.support.records import HOUR, NOW, POLICY, SECOND, at, fault, job, rules
from tests.support.worker import assert_change
from worker.jobs.decisions.fetch_result import decide_result
from worker.jobs.decisions.transition import Reschedule
from worker.ports import (
    InProgress,
    RequestNotFound,
    ResultAnswer,
    RunCancelled,
    RunCompleted,
    RunFailed,
    Unreachable,
    UpstreamFault,
    UpstreamTimes,
)

S, F = JobState, Trigger
LATER = at(1)
COST = MicroUsd(840_000)
FREE = MicroUsd(0)
TIMES = UpstreamTimes(finished_at=at(-3))
OUTPUT = b'{"video": {"url": "https://cdn.example/a.mp4"}}'
FAILED = UpstreamFault("failed", "The image is unreadable.", 200, "4001")
NO_OUTPUT = UpstreamFault("no_output", "Completed without output.", 200)
COLLECTING = job(S.COLLECTING)


def decide(record: Job, answer: ResultAnswer, seconds: float = 1) -> Change | Reschedule:
    return decide_result(record, answer, at(seconds), rules())


@pytest.mark.parametrize(
    "answer",
    [
        RunCompleted(OUTPUT, COST, TIMES, "succeeded"),
        RunFailed(FAILED, COST, TIMES, "succeeded"),
        RunCancelled(FREE, TIMES, "succeeded"),
    ],
)
def test_runcomfys_own_word_for_the_end_is_kept(answer: ResultAnswer) -> None:
    decided = decide(job(S.COLLECTING, upstream_status="completed"), answer)
    assert isinstance(decided, Change)
    assert decided.after.upstream_result_status == "succeeded"
    assert decided.after.upstream_status == "completed"


# The answer -> the state, billed, cost, the error's word, the errand.
ENDS: dict[
    str, tuple[ResultAnswer, JobState, BillingStatus, int | None, str | None, FollowUp | None]
] = {
    "completed": (
        RunCompleted(OUTPUT, COST, TIMES),
        S.SUCCEEDED,
        BillingStatus.YES,
        COST,
        None,
        None,
    ),
    "completed, free": (
        RunCompleted(OUTPUT, FREE, TIMES),
        S.SUCCEEDED,
        BillingStatus.YES,
        FREE,
        None,
        None,
    ),
    "completed, cost unknown": (
        RunCompleted(OUTPUT, None, TIMES),
        S.SUCCEEDED,
        BillingStatus.YES,
        None,
        None,
        FollowUp.READ_COST,
    ),
    "failed": (
        RunFailed(FAILED, FREE, TIMES),
        S.FAILED,
        BillingStatus.NO,
        FREE,
        "upstream_failed",
        None,
    ),
    "failed, charged": (
        RunFailed(FAILED, COST, TIMES),
        S.FAILED,
        BillingStatus.YES,
        COST,
        "upstream_failed",
        None,
    ),
    "failed, cost unknown": (
        RunFailed(FAILED, None, TIMES),
        S.FAILED,
        BillingStatus.UNKNOWN,
        None,
        "upstream_failed",
        FollowUp.READ_COST,
    ),
    "without output": (
        RunFailed(NO_OUTPUT, COST, TIMES),
        S.FAILED,
        BillingStatus.YES,
        COST,
        "no_output",
        None,
    ),
    "cancelled": (RunCancelled(FREE, TIMES), S.CANCELLED, BillingStatus.NO, FREE, None, None),
    "cancelled, no cost": (
        RunCancelled(None, TIMES),
        S.CANCELLED,
        BillingStatus.NO,
        None,
        None,
        None,
    ),
    "cancelled, charged": (
        RunCancelled(COST, TIMES),
        S.CANCELLED,
        BillingStatus.YES,
        COST,
        None,
        None,
    ),
}


@pytest.mark.parametrize(
    ("answer", "state", "billed", "cost", "code", "errand"), ENDS.values(), ids=ENDS
)
def test_what_ends_a_job(
    answer: ResultAnswer,
    state: JobState,
    billed: BillingStatus,
    cost: int | None,
    code: str | None,
    errand: FollowUp | None,
) -> None:
    after = assert_change(decide(COLLECTING, answer)).after
    assert (after.state, after.billed, after.cost) == (state, billed, cost)
    assert after.cost_source == (None if cost is None else "runcomfy")
    assert (after.error.code if after.error else None) == code
    assert after.follow_up is errand
    assert after.next_run_at == (None if errand is None else LATER + POLICY.cost_read_delays[0])
    assert (after.finished_at, after.upstream_finished_at) == (LATER, at(-3))


def test_the_output_goes_with_the_end_and_nothing_else_does() -> None:
    move = assert_change(decide(COLLECTING, RunCompleted(OUTPUT, COST, TIMES)))
    assert move.output is not None
    assert move.output == OUTPUT
    assert (move.trigger, move.after.late) == (F.COLLECTED, False)
    assert assert_change(decide(COLLECTING, RunFailed(FAILED, COST, TIMES))).output is None


@pytest.mark.parametrize("answer", [end[0] for end in ENDS.values()], ids=ENDS)
def test_an_end_forgets_the_trouble_before_it(answer: ResultAnswer) -> None:
    troubled = replace(
        COLLECTING, upstream_error="timeout", upstream_error_since=NOW, read_attempts=4
    )
    after = assert_change(decide(troubled, answer)).after
    assert (after.upstream_error, after.upstream_error_since, after.read_attempts) == (
        None,
        None,
        0,
    )


def test_a_failure_tells_runcomfys_words_and_code() -> None:
    move = assert_change(decide(COLLECTING, RunFailed(FAILED, FREE, TIMES)))
    assert move.after.error is not None
    assert move.after.error.message == "The image is unreadable."
    assert move.after.error.upstream_code == "4001"
    assert move.entry is not None
    assert (move.entry.kind, move.entry.detail) == (
        TimelineKind.UPSTREAM,
        "failed: The image is unreadable.",
    )


def test_a_cancel_on_runcomfys_side_is_told_as_one() -> None:
    move = assert_change(decide(COLLECTING, RunCancelled(FREE, TIMES)))
    assert (move.trigger, move.after.cancel_outcome) == (F.CANCEL_DONE, CancelOutcome.CANCELLED)


# The answer -> the word of the trouble, and the next look.
AWAY: dict[str, tuple[ResultAnswer, str, float]] = {
    "status and result disagree": (
        InProgress(is_running=True, status_word="in_progress"),
        "not_finished",
        3,
    ),
    "gone": (RequestNotFound(fault("not_found", 404)), "not_found", 3),
    "down": (Unreachable(fault("server_error")), "server_error", 3),
    "told to wait": (Unreachable(fault("throttled", 429), 30 * SECOND), "throttled", 31),
    "told to wait shortly": (Unreachable(fault("throttled", 429), SECOND), "throttled", 3),
}


@pytest.mark.parametrize(("answer", "kind", "due"), AWAY.values(), ids=AWAY)
def test_a_result_that_is_away_is_fetched_again(
    answer: ResultAnswer, kind: str, due: float
) -> None:
    move = assert_change(decide(COLLECTING, answer))
    after = move.after
    assert (after.state, move.trigger) == (S.COLLECTING, F.RETRY_COLLECT)
    assert (after.upstream_error, after.upstream_error_since, after.next_run_at) == (
        kind,
        LATER,
        at(due),
    )
    assert move.entry is not None
    assert isinstance(decide(after, answer, 2), Reschedule)


def test_the_waits_for_a_result_grow() -> None:
    down = Unreachable(fault("server_error"))
    away = replace(COLLECTING, upstream_error="server_error", upstream_error_since=NOW)
    waits = [decide(away, down, seconds) for seconds in (10, 100, 1000)]
    assert waits == [Reschedule(away, at(seconds)) for seconds in (13, 130, 1060)]


@pytest.mark.parametrize("answer", [answer for answer, _, _ in AWAY.values()], ids=AWAY)
def test_a_result_that_stays_away_is_given_up_and_still_awaited(answer: ResultAnswer) -> None:
    away = replace(COLLECTING, upstream_error="timeout", upstream_error_since=NOW)
    assert isinstance(decide(away, answer, HOUR / SECOND - 1), Change | Reschedule)
    move = assert_change(decide(away, answer, HOUR / SECOND))
    after = move.after
    assert (after.state, move.trigger, after.billed) == (
        S.FAILED,
        F.COLLECT_FAILED,
        BillingStatus.UNKNOWN,
    )
    assert after.error is not None
    assert after.error.code == "result_unavailable"
    assert after.follow_up is FollowUp.AWAIT_LATE_RESULT
    assert after.next_run_at == at(HOUR / SECOND) + POLICY.late_result_polling.max_delay
