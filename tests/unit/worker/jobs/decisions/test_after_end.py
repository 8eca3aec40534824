"""News about a finished job: its cost, a late result, a second acceptance."""

from dataclasses import replace
from datetime import timedelta

import pytest

from core.jobs.job import BillingStatus, FollowUp, Job, JobError, JobState
from core.jobs.timeline import TimelineKind
from core.money import MicroUsd
from tests.support.records import MINUTE, NOW, POLICY, SECOND, at, fault, job, rules
from tests.support.worker import assert_change
from worker.jobs.decisions.after_end import (
    decide_cost_read,
    decide_late_result,
    record_second_acceptance,
)
from worker.jobs.decisions.transition import Reschedule
from worker.ports import (
    InProgress,
    RequestNotFound,
    ResultAnswer,
    RunCancelled,
    RunCompleted,
    RunFailed,
    Unreachable,
    UpstreamTimes,
)

S = JobState
LATER = at(1)
COST, FREE = MicroUsd(840_000), MicroUsd(0)
TIMES = UpstreamTimes(finished_at=at(-3))
OUTPUT = b'{"image": "https://cdn.example/a.png"}'
DOWN = Unreachable(fault())
UNPRICED = job(S.SUCCEEDED, follow_up=FollowUp.READ_COST, billed=BillingStatus.YES)
EXPIRED = job(
    S.EXPIRED, follow_up=FollowUp.AWAIT_LATE_RESULT, error=JobError("timeout", "Time ran out.")
)


# --- the cost

# The answer -> billed, cost.
COSTS: dict[str, tuple[ResultAnswer, BillingStatus, int]] = {
    "completed": (RunCompleted(OUTPUT, COST, TIMES), BillingStatus.YES, COST),
    "completed, free": (RunCompleted(OUTPUT, FREE, TIMES), BillingStatus.YES, FREE),
    "failed": (RunFailed(fault(), FREE, TIMES), BillingStatus.NO, FREE),
    "failed, charged": (RunFailed(fault(), COST, TIMES), BillingStatus.YES, COST),
    "cancelled": (RunCancelled(FREE, TIMES), BillingStatus.NO, FREE),
}


@pytest.mark.parametrize(("answer", "billed", "cost"), COSTS.values(), ids=COSTS)
def test_a_cost_that_came_later_is_kept_and_ends_the_errand(
    answer: ResultAnswer, billed: BillingStatus, cost: int
) -> None:
    move = decide_cost_read(UNPRICED, answer, LATER, rules())
    after = move.after
    assert (after.billed, after.cost, after.cost_source) == (billed, cost, "runcomfy")
    assert (after.follow_up, after.next_run_at, after.state) == (None, None, S.SUCCEEDED)
    assert move.entry is not None
    assert (move.entry.kind, move.entry.code, move.trigger) == (
        TimelineKind.UPSTREAM,
        "cost_read",
        None,
    )
    assert move.output is None


NO_COST: dict[str, ResultAnswer] = {
    "still absent": RunCompleted(OUTPUT, None, TIMES),
    "failed, absent": RunFailed(fault(), None, TIMES),
    "down": DOWN,
    "gone": RequestNotFound(fault("not_found", 404)),
    "open again": InProgress(is_running=True, status_word="in_progress"),
}


@pytest.mark.parametrize("answer", NO_COST.values(), ids=NO_COST)
def test_an_absent_cost_is_asked_for_as_often_as_planned(answer: ResultAnswer) -> None:
    record, waits = UNPRICED, [POLICY.cost_read_delays[0]]
    while record.follow_up is not None:
        record = decide_cost_read(record, answer, LATER, rules()).after
        if record.next_run_at is not None:
            waits.append(record.next_run_at - LATER)
    assert waits == list(POLICY.cost_read_delays)
    assert (record.billed, record.cost, record.next_run_at) == (BillingStatus.YES, None, None)


def test_the_last_look_at_a_cost_is_told_and_the_others_are_not() -> None:
    move = decide_cost_read(UNPRICED, DOWN, LATER, rules())
    assert (move.entry, move.after.read_attempts, move.after.next_run_at) == (
        None,
        1,
        LATER + MINUTE,
    )
    last = decide_cost_read(replace(UNPRICED, read_attempts=5), DOWN, LATER, rules())
    assert last.entry is not None
    assert last.entry.code == "cost_unknown"


# --- the late result


def test_a_late_result_is_kept_and_marked_though_the_state_stays() -> None:
    move = assert_change(
        decide_late_result(EXPIRED, RunCompleted(OUTPUT, COST, TIMES), LATER, rules())
    )
    after = move.after
    assert (after.state, after.late, after.error) == (S.EXPIRED, True, EXPIRED.error)
    assert (after.billed, after.cost, after.upstream_finished_at) == (
        BillingStatus.YES,
        COST,
        at(-3),
    )
    assert (after.follow_up, after.next_run_at, after.finished_at) == (None, None, NOW)
    assert move.output is not None
    assert move.output == OUTPUT
    assert move.entry is not None
    assert move.entry.code == "late_result"


def test_a_late_result_without_a_cost_has_it_read_later() -> None:
    after = assert_change(
        decide_late_result(EXPIRED, RunCompleted(OUTPUT, None, TIMES), LATER, rules())
    ).after
    assert (after.follow_up, after.read_attempts) == (FollowUp.READ_COST, 0)
    assert after.next_run_at == LATER + POLICY.cost_read_delays[0]
    assert (after.billed, after.cost) == (BillingStatus.YES, None)


# The answer -> billed, cost, the line.
LATE_ENDS: dict[str, tuple[ResultAnswer, BillingStatus, int | None, str]] = {
    "failed": (RunFailed(fault(), FREE, TIMES), BillingStatus.NO, FREE, "late_failure"),
    "failed, charged": (RunFailed(fault(), COST, TIMES), BillingStatus.YES, COST, "late_failure"),
    "failed, unknown": (
        RunFailed(fault(), None, TIMES),
        BillingStatus.UNKNOWN,
        None,
        "late_failure",
    ),
    "cancelled": (RunCancelled(FREE, TIMES), BillingStatus.NO, FREE, "late_cancel"),
    "cancelled, no cost": (RunCancelled(None, TIMES), BillingStatus.NO, None, "late_cancel"),
    "cancelled, charged": (RunCancelled(COST, TIMES), BillingStatus.YES, COST, "late_cancel"),
}


@pytest.mark.parametrize(("answer", "billed", "cost", "what"), LATE_ENDS.values(), ids=LATE_ENDS)
def test_a_late_end_without_a_result_settles_what_was_charged(
    answer: ResultAnswer, billed: BillingStatus, cost: int | None, what: str
) -> None:
    move = assert_change(decide_late_result(EXPIRED, answer, LATER, rules()))
    after = move.after
    assert (after.billed, after.cost, after.late) == (billed, cost, False)
    assert (after.follow_up, after.next_run_at, move.output) == (None, None, None)
    assert move.entry is not None
    assert move.entry.code == what


OPEN_ENDED: dict[str, ResultAnswer] = {
    name: NO_COST[name] for name in ("down", "gone", "open again")
}


@pytest.mark.parametrize("answer", OPEN_ENDED.values(), ids=OPEN_ENDED)
@pytest.mark.parametrize(("waited", "wait"), [(1, 5), (100, 20), (3600, 720), (86_400, 1800)])
def test_a_late_result_is_awaited_ever_more_rarely(
    answer: ResultAnswer, waited: int, wait: int
) -> None:
    decided = decide_late_result(EXPIRED, answer, at(waited), rules())
    assert decided == Reschedule(EXPIRED, at(waited + wait))


@pytest.mark.parametrize("answer", OPEN_ENDED.values(), ids=OPEN_ENDED)
def test_the_watch_for_a_late_result_ends_before_the_record_does(answer: ResultAnswer) -> None:
    end = NOW + POLICY.late_result_timeout
    assert isinstance(decide_late_result(EXPIRED, answer, end - SECOND, rules()), Reschedule)
    move = assert_change(decide_late_result(EXPIRED, answer, end, rules()))
    assert (move.after.follow_up, move.after.next_run_at) == (None, None)
    assert move.after.billed is BillingStatus.UNKNOWN
    assert move.entry is not None
    assert move.entry.code == "late_watch_ended"
    assert POLICY.late_result_timeout < timedelta(days=7)


# --- an acceptance that the job cannot take


def test_what_a_job_that_was_given_up_brings_is_waited_for() -> None:
    given_up = job(S.FAILED, upstream_id=None, error=JobError("submit_in_doubt", "Unclear."))
    move = record_second_acceptance(given_up, "up-9", LATER)
    after = move.after
    assert (after.state, after.upstream_id, after.error) == (S.FAILED, "up-9", given_up.error)
    assert (after.follow_up, after.next_run_at) == (FollowUp.AWAIT_LATE_RESULT, LATER)
    assert after.billed is BillingStatus.UNKNOWN
    assert move.entry is not None
    assert (move.entry.code, move.entry.detail) == ("second_acceptance", "up-9")


@pytest.mark.parametrize(
    "record", [job(S.RUNNING), job(S.COLLECTING), job(S.SUCCEEDED)], ids=lambda record: record.state
)
def test_a_second_acceptance_leaves_the_first_one_alone(record: Job) -> None:
    move = record_second_acceptance(record, "up-9", LATER)
    assert move.after == record.evolve(LATER)
    assert move.entry is not None
    assert (move.entry.detail, move.entry.kind) == ("up-9", TimelineKind.UPSTREAM)
