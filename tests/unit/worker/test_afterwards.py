"""What is still learnt about a job that has ended: its cost, a late result, a second acceptance."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import orjson
import pytest

from core.jobs.job import Billed, Errand, Job, JobError, JobState
from core.jobs.timeline import Note
from core.money import MicroUsd
from tests.builders import MINUTE, NOW, POLICY, SECOND, at, fault, job, rules
from worker.jobs.decisions.after_end import cost_read, late_result, orphaned
from worker.jobs.decisions.transition import Move, Wait
from worker.ports import Cancelled, Completed, Failed, Gone, Open, ResultAnswer, Times, Unreachable

S = JobState
LATER = at(1)
COST, FREE = MicroUsd(840_000), MicroUsd(0)
TIMES = Times(finished_at=at(-3))
OUTPUT = {"image": "https://cdn.example/a.png"}
DOWN = Unreachable(fault())
UNPRICED = job(S.SUCCEEDED, errand=Errand.READ_COST, billed=Billed.YES)
EXPIRED = job(
    S.EXPIRED, errand=Errand.AWAIT_LATE_RESULT, error=JobError("timeout", "Time ran out.")
)


def moved(decided: Move | Wait) -> Move:
    assert isinstance(decided, Move)
    return decided


# --- the cost

# The answer -> billed, cost.
COSTS: dict[str, tuple[ResultAnswer, Billed, int]] = {
    "completed": (Completed(OUTPUT, COST, TIMES), Billed.YES, COST),
    "completed, free": (Completed(OUTPUT, FREE, TIMES), Billed.YES, FREE),
    "failed": (Failed(fault(), FREE, TIMES), Billed.NO, FREE),
    "failed, charged": (Failed(fault(), COST, TIMES), Billed.YES, COST),
    "cancelled": (Cancelled(FREE, TIMES), Billed.NO, FREE),
}


@pytest.mark.parametrize(("answer", "billed", "cost"), COSTS.values(), ids=COSTS)
def test_a_cost_that_came_later_is_kept_and_ends_the_errand(
    answer: ResultAnswer, billed: Billed, cost: int
) -> None:
    move = cost_read(UNPRICED, answer, LATER, rules())
    after = move.after
    assert (after.billed, after.cost, after.cost_source) == (billed, cost, "runcomfy")
    assert (after.errand, after.due_at, after.state) == (None, None, S.SUCCEEDED)
    assert move.entry is not None
    assert (move.entry.note, move.entry.what, move.fact) == (Note.UPSTREAM, "cost_read", None)
    assert move.output is None


NO_COST: dict[str, ResultAnswer] = {
    "still absent": Completed(OUTPUT, None, TIMES),
    "failed, absent": Failed(fault(), None, TIMES),
    "down": DOWN,
    "gone": Gone(fault("gone", 404)),
    "open again": Open(in_progress=True, word="in_progress"),
}


@pytest.mark.parametrize("answer", NO_COST.values(), ids=NO_COST)
def test_an_absent_cost_is_asked_for_as_often_as_planned(answer: ResultAnswer) -> None:
    record, waits = UNPRICED, [POLICY.cost_reads[0]]
    while record.errand is not None:
        record = cost_read(record, answer, LATER, rules()).after
        if record.due_at is not None:
            waits.append(record.due_at - LATER)
    assert waits == list(POLICY.cost_reads)
    assert (record.billed, record.cost, record.due_at) == (Billed.YES, None, None)


def test_the_last_look_at_a_cost_is_told_and_the_others_are_not() -> None:
    move = cost_read(UNPRICED, DOWN, LATER, rules())
    assert (move.entry, move.after.tries, move.after.due_at) == (None, 1, LATER + MINUTE)
    last = cost_read(replace(UNPRICED, tries=5), DOWN, LATER, rules())
    assert last.entry is not None
    assert last.entry.what == "cost_unknown"


# --- the late result


def test_a_late_result_is_kept_and_marked_though_the_state_stays() -> None:
    move = moved(late_result(EXPIRED, Completed(OUTPUT, COST, TIMES), LATER, rules()))
    after = move.after
    assert (after.state, after.late, after.error) == (S.EXPIRED, True, EXPIRED.error)
    assert (after.billed, after.cost, after.upstream_finished_at) == (Billed.YES, COST, at(-3))
    assert (after.errand, after.due_at, after.finished_at) == (None, None, NOW)
    assert move.output is not None
    assert orjson.loads(move.output) == OUTPUT
    assert move.entry is not None
    assert move.entry.what == "late_result"


def test_a_late_result_without_a_cost_has_it_read_later() -> None:
    after = moved(late_result(EXPIRED, Completed(OUTPUT, None, TIMES), LATER, rules())).after
    assert (after.errand, after.tries) == (Errand.READ_COST, 0)
    assert after.due_at == LATER + POLICY.cost_reads[0]
    assert (after.billed, after.cost) == (Billed.YES, None)


# The answer -> billed, cost, the line.
LATE_ENDS: dict[str, tuple[ResultAnswer, Billed, int | None, str]] = {
    "failed": (Failed(fault(), FREE, TIMES), Billed.NO, FREE, "late_failure"),
    "failed, charged": (Failed(fault(), COST, TIMES), Billed.YES, COST, "late_failure"),
    "failed, unknown": (Failed(fault(), None, TIMES), Billed.UNKNOWN, None, "late_failure"),
    "cancelled": (Cancelled(FREE, TIMES), Billed.NO, FREE, "late_cancel"),
    "cancelled, no cost": (Cancelled(None, TIMES), Billed.NO, None, "late_cancel"),
    "cancelled, charged": (Cancelled(COST, TIMES), Billed.YES, COST, "late_cancel"),
}


@pytest.mark.parametrize(("answer", "billed", "cost", "what"), LATE_ENDS.values(), ids=LATE_ENDS)
def test_a_late_end_without_a_result_settles_what_was_charged(
    answer: ResultAnswer, billed: Billed, cost: int | None, what: str
) -> None:
    move = moved(late_result(EXPIRED, answer, LATER, rules()))
    after = move.after
    assert (after.billed, after.cost, after.late) == (billed, cost, False)
    assert (after.errand, after.due_at, move.output) == (None, None, None)
    assert move.entry is not None
    assert move.entry.what == what


OPEN_ENDED: dict[str, ResultAnswer] = {
    name: NO_COST[name] for name in ("down", "gone", "open again")
}


@pytest.mark.parametrize("answer", OPEN_ENDED.values(), ids=OPEN_ENDED)
@pytest.mark.parametrize(("waited", "wait"), [(1, 5), (100, 20), (3600, 720), (86_400, 1800)])
def test_a_late_result_is_awaited_ever_more_rarely(
    answer: ResultAnswer, waited: int, wait: int
) -> None:
    assert late_result(EXPIRED, answer, at(waited), rules()) == Wait(at(waited + wait))


@pytest.mark.parametrize("answer", OPEN_ENDED.values(), ids=OPEN_ENDED)
def test_the_watch_for_a_late_result_ends_before_the_record_does(answer: ResultAnswer) -> None:
    end = NOW + POLICY.late_for
    assert isinstance(late_result(EXPIRED, answer, end - SECOND, rules()), Wait)
    move = moved(late_result(EXPIRED, answer, end, rules()))
    assert (move.after.errand, move.after.due_at) == (None, None)
    assert move.after.billed is Billed.UNKNOWN
    assert move.entry is not None
    assert move.entry.what == "late_watch_ended"
    assert POLICY.late_for < timedelta(days=7)


# --- an acceptance that the job cannot take


def test_what_a_job_that_was_given_up_brings_is_waited_for() -> None:
    given_up = job(S.FAILED, upstream_id=None, error=JobError("submit_in_doubt", "Unclear."))
    move = orphaned(given_up, "up-9", LATER)
    after = move.after
    assert (after.state, after.upstream_id, after.error) == (S.FAILED, "up-9", given_up.error)
    assert (after.errand, after.due_at) == (Errand.AWAIT_LATE_RESULT, LATER)
    assert after.billed is Billed.UNKNOWN
    assert move.entry is not None
    assert (move.entry.what, move.entry.detail) == ("second_acceptance", "up-9")


@pytest.mark.parametrize(
    "record", [job(S.RUNNING), job(S.COLLECTING), job(S.SUCCEEDED)], ids=lambda record: record.state
)
def test_a_second_acceptance_leaves_the_first_one_alone(record: Job) -> None:
    move = orphaned(record, "up-9", LATER)
    assert move.after == record.noted(LATER)
    assert move.entry is not None
    assert (move.entry.detail, move.entry.note) == ("up-9", Note.UPSTREAM)
