"""What a result means for a job that RunComfy calls finished."""

from __future__ import annotations

from dataclasses import replace

import orjson
import pytest

from core.jobs.job import Billed, CancelOutcome, Errand, Fact, Job, JobState
from core.jobs.timeline import Note
from core.money import MicroUsd
from tests.builders import HOUR, NOW, POLICY, SECOND, at, fault, job, rules
from worker.jobs.decisions.fetch_result import collected
from worker.jobs.decisions.transition import Move, Wait
from worker.ports import (
    Cancelled,
    Completed,
    Failed,
    Gone,
    Open,
    ResultAnswer,
    Times,
    Unreachable,
    UpstreamFault,
)

S, F = JobState, Fact
LATER = at(1)
COST = MicroUsd(840_000)
FREE = MicroUsd(0)
TIMES = Times(finished_at=at(-3))
OUTPUT = {"video": {"url": "https://cdn.example/a.mp4"}}
FAILED = UpstreamFault("failed", "The image is unreadable.", 200, "4001")
NO_OUTPUT = UpstreamFault("no_output", "Completed without output.", 200)
COLLECTING = job(S.COLLECTING)


def decide(record: Job, answer: ResultAnswer, seconds: float = 1) -> Move | Wait:
    return collected(record, answer, at(seconds), rules())


def moved(decided: Move | Wait) -> Move:
    assert isinstance(decided, Move)
    return decided


# The answer -> the state, billed, cost, the error's word, the errand.
ENDS: dict[str, tuple[ResultAnswer, JobState, Billed, int | None, str | None, Errand | None]] = {
    "completed": (Completed(OUTPUT, COST, TIMES), S.SUCCEEDED, Billed.YES, COST, None, None),
    "completed, free": (Completed(OUTPUT, FREE, TIMES), S.SUCCEEDED, Billed.YES, FREE, None, None),
    "completed, cost unknown": (
        Completed(OUTPUT, None, TIMES),
        S.SUCCEEDED,
        Billed.YES,
        None,
        None,
        Errand.READ_COST,
    ),
    "failed": (Failed(FAILED, FREE, TIMES), S.FAILED, Billed.NO, FREE, "upstream_failed", None),
    "failed, charged": (
        Failed(FAILED, COST, TIMES),
        S.FAILED,
        Billed.YES,
        COST,
        "upstream_failed",
        None,
    ),
    "failed, cost unknown": (
        Failed(FAILED, None, TIMES),
        S.FAILED,
        Billed.UNKNOWN,
        None,
        "upstream_failed",
        Errand.READ_COST,
    ),
    "without output": (
        Failed(NO_OUTPUT, COST, TIMES),
        S.FAILED,
        Billed.YES,
        COST,
        "no_output",
        None,
    ),
    "cancelled": (Cancelled(FREE, TIMES), S.CANCELLED, Billed.NO, FREE, None, None),
    "cancelled, no cost": (Cancelled(None, TIMES), S.CANCELLED, Billed.NO, None, None, None),
    "cancelled, charged": (Cancelled(COST, TIMES), S.CANCELLED, Billed.YES, COST, None, None),
}


@pytest.mark.parametrize(
    ("answer", "state", "billed", "cost", "code", "errand"), ENDS.values(), ids=ENDS
)
def test_what_ends_a_job(
    answer: ResultAnswer,
    state: JobState,
    billed: Billed,
    cost: int | None,
    code: str | None,
    errand: Errand | None,
) -> None:
    after = moved(decide(COLLECTING, answer)).after
    assert (after.state, after.billed, after.cost) == (state, billed, cost)
    assert after.cost_source == (None if cost is None else "runcomfy")
    assert (after.error.code if after.error else None) == code
    assert after.errand is errand
    assert after.due_at == (None if errand is None else LATER + POLICY.cost_reads[0])
    assert (after.finished_at, after.upstream_finished_at) == (LATER, at(-3))


def test_the_output_goes_with_the_end_and_nothing_else_does() -> None:
    move = moved(decide(COLLECTING, Completed(OUTPUT, COST, TIMES)))
    assert move.output is not None
    assert orjson.loads(move.output) == OUTPUT
    assert (move.fact, move.after.late) == (F.COLLECTED, False)
    assert moved(decide(COLLECTING, Failed(FAILED, COST, TIMES))).output is None


@pytest.mark.parametrize("answer", [end[0] for end in ENDS.values()], ids=ENDS)
def test_an_end_forgets_the_trouble_before_it(answer: ResultAnswer) -> None:
    troubled = replace(COLLECTING, trouble="timeout", trouble_since=NOW, tries=4)
    after = moved(decide(troubled, answer)).after
    assert (after.trouble, after.trouble_since, after.tries) == (None, None, 0)


def test_a_failure_tells_runcomfys_words_and_code() -> None:
    move = moved(decide(COLLECTING, Failed(FAILED, FREE, TIMES)))
    assert move.after.error is not None
    assert move.after.error.message == "The image is unreadable."
    assert move.after.error.upstream_code == "4001"
    assert move.entry is not None
    assert (move.entry.note, move.entry.detail) == (
        Note.UPSTREAM,
        "failed: The image is unreadable.",
    )


def test_a_cancel_on_runcomfys_side_is_told_as_one() -> None:
    move = moved(decide(COLLECTING, Cancelled(FREE, TIMES)))
    assert (move.fact, move.after.cancel_outcome) == (F.CANCEL_DONE, CancelOutcome.CANCELLED)


# The answer -> the word of the trouble, and the next look.
AWAY: dict[str, tuple[ResultAnswer, str, float]] = {
    "status and result disagree": (Open(in_progress=True, word="in_progress"), "disagree", 3),
    "gone": (Gone(fault("gone", 404)), "gone", 3),
    "down": (Unreachable(fault("server_error")), "server_error", 3),
    "told to wait": (Unreachable(fault("throttled", 429), 30 * SECOND), "throttled", 31),
    "told to wait shortly": (Unreachable(fault("throttled", 429), SECOND), "throttled", 3),
}


@pytest.mark.parametrize(("answer", "kind", "due"), AWAY.values(), ids=AWAY)
def test_a_result_that_is_away_is_fetched_again(
    answer: ResultAnswer, kind: str, due: float
) -> None:
    move = moved(decide(COLLECTING, answer))
    after = move.after
    assert (after.state, move.fact) == (S.COLLECTING, F.RETRY_COLLECT)
    assert (after.trouble, after.trouble_since, after.due_at) == (kind, LATER, at(due))
    assert move.entry is not None
    assert isinstance(decide(after, answer, 2), Wait)


def test_the_waits_for_a_result_grow() -> None:
    down = Unreachable(fault("server_error"))
    away = replace(COLLECTING, trouble="server_error", trouble_since=NOW)
    waits = [decide(away, down, seconds) for seconds in (10, 100, 1000)]
    assert waits == [Wait(at(13)), Wait(at(130)), Wait(at(1060))]


@pytest.mark.parametrize("answer", [answer for answer, _, _ in AWAY.values()], ids=AWAY)
def test_a_result_that_stays_away_is_given_up_and_still_awaited(answer: ResultAnswer) -> None:
    away = replace(COLLECTING, trouble="timeout", trouble_since=NOW)
    assert isinstance(decide(away, answer, HOUR / SECOND - 1), Move | Wait)
    move = moved(decide(away, answer, HOUR / SECOND))
    after = move.after
    assert (after.state, move.fact, after.billed) == (S.FAILED, F.GAVE_UP, Billed.UNKNOWN)
    assert after.error is not None
    assert after.error.code == "result_unavailable"
    assert after.errand is Errand.AWAIT_LATE_RESULT
    assert after.due_at == at(HOUR / SECOND) + POLICY.late_watch.most
