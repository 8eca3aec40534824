"""Estimates of a model's run time from its last runs."""

from datetime import timedelta

import pytest

from core.jobs.job import FINAL_STATES, JobState
from core.jobs.run_times import (
    MAX_RUNS,
    MIN_RUNS,
    Estimate,
    PollHintPolicy,
    RunHistory,
    estimate_finish,
    poll_hint,
    run_time,
)
from tests.support.records import NOW, at, job

SECOND = timedelta(seconds=1)
TEN_TO_109 = RunHistory.from_newest_first(timedelta(seconds=n) for n in range(10, 110))
HINTS = PollHintPolicy(2 * SECOND, 30 * SECOND)


def test_only_the_last_runs_count_and_they_are_sorted() -> None:
    history = RunHistory.from_newest_first([*(3 * SECOND for _ in range(MAX_RUNS)), SECOND])

    assert history.times == (3 * SECOND,) * MAX_RUNS
    assert RunHistory.from_newest_first([2 * SECOND, SECOND]).times == (SECOND, 2 * SECOND)


@pytest.mark.parametrize(
    ("elapsed", "share", "remaining"),
    [(0, 0.5, 59), (0, 0.9, 99), (0, 1, 109), (0, 0.01, 10), (59, 0.5, 25), (108, 0.5, 1)],
)
def test_the_rest_is_judged_by_runs_that_took_as_long(
    elapsed: int, share: float, remaining: int
) -> None:
    left = TEN_TO_109.remaining(timedelta(seconds=elapsed), share)

    assert left == timedelta(seconds=remaining)


@pytest.mark.parametrize("elapsed", [109, 500])
def test_a_run_that_outlasts_all_others_foretells_nothing(elapsed: int) -> None:
    assert TEN_TO_109.remaining(timedelta(seconds=elapsed), 0.5) is None


@pytest.mark.parametrize(("runs", "known"), [(MIN_RUNS - 1, False), (MIN_RUNS, True)])
def test_few_runs_foretell_nothing(runs: int, known: bool) -> None:  # noqa: FBT001 - a table's column
    history = RunHistory.from_newest_first([SECOND] * runs)

    assert (history.remaining(timedelta(), 0.5) is not None) is known


@pytest.mark.parametrize("elapsed", [0, 30, 60, 100, 107])
@pytest.mark.parametrize("patience", [0.05, 0.14, 2.0])
def test_a_look_comes_when_ends_are_as_old_as_patience_on_average(
    elapsed: int, patience: float
) -> None:
    gone_on = timedelta(seconds=elapsed)
    wait = TEN_TO_109.optimal_poll_delay(gone_on, timedelta(seconds=patience))

    assert wait is not None
    left = [time - gone_on for time in TEN_TO_109.times if time > gone_on]
    delays = [(wait - rest).total_seconds() for rest in left if rest < wait]
    assert sum(delays) / len(left) == pytest.approx(patience, abs=1e-5)


@pytest.mark.parametrize(
    ("history", "elapsed"),
    [
        (RunHistory.from_newest_first([SECOND] * (MIN_RUNS - 1)), 0),
        (TEN_TO_109, 109),
        (RunHistory(), 0),
    ],
)
def test_without_runs_to_go_by_no_look_is_foretold(history: RunHistory, elapsed: int) -> None:
    assert history.optimal_poll_delay(timedelta(seconds=elapsed), SECOND) is None


def test_the_share_of_runs_that_had_ended() -> None:
    assert RunHistory().fraction_ended(SECOND) == 0
    assert TEN_TO_109.fraction_ended(timedelta(seconds=59)) == 0.5


def test_an_estimate_counts_from_now() -> None:
    running = job(JobState.RUNNING, running_since=NOW)

    assert estimate_finish(running, TEN_TO_109, at(59)) == Estimate(at(84), at(104))


@pytest.mark.parametrize("state", sorted(set(JobState) - {JobState.RUNNING, JobState.CANCELLING}))
def test_only_a_job_that_runcomfy_works_on_has_an_estimate(state: JobState) -> None:
    assert estimate_finish(job(state), TEN_TO_109, NOW) is None
    assert poll_hint(job(state), TEN_TO_109, NOW, HINTS) == HINTS.min_delay


@pytest.mark.parametrize(
    ("elapsed", "history", "hint"),
    [
        (0, RunHistory(), 2),  # nothing known
        (0, TEN_TO_109, 19),  # one in ten ends within 19 s
        (99, TEN_TO_109, 2),  # one second more: not so fast
        (0, RunHistory.from_newest_first([timedelta(minutes=9)] * MIN_RUNS), 30),  # not so slow
        (400, TEN_TO_109, 2),  # longer than any
    ],
)
def test_a_hint_follows_the_history_within_its_bounds(
    elapsed: int, history: RunHistory, hint: int
) -> None:
    running = job(JobState.RUNNING, running_since=NOW)

    assert poll_hint(running, history, at(elapsed), HINTS) == timedelta(seconds=hint)


@pytest.mark.parametrize(
    ("theirs", "seconds"),
    [
        (None, 10),
        (at(8), 8),
        (at(0), 10),  # RunComfy's clock is behind ours
        (at(11), 10),  # or before it
    ],
)
def test_runcomfy_s_own_end_counts_where_it_fits(theirs: object, seconds: int) -> None:
    after = job(JobState.SUCCEEDED, finished_at=at(10), upstream_finished_at=theirs)

    assert run_time(job(JobState.COLLECTING), after) == timedelta(seconds=seconds)


@pytest.mark.parametrize("state", sorted(FINAL_STATES - {JobState.SUCCEEDED}))
def test_only_successes_are_remembered(state: JobState) -> None:
    assert run_time(job(JobState.COLLECTING), job(state, finished_at=at(1))) is None


def test_what_is_learnt_after_the_end_is_no_second_run() -> None:
    ended = job(JobState.SUCCEEDED, finished_at=at(1))

    assert run_time(ended, ended) is None
