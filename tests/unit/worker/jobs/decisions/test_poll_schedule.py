"""When the next poll is due, from the model's known run times."""

from datetime import timedelta

import pytest

from core.jobs.run_times import RunHistory
from tests.support.records import POLICY, SECOND, MidpointRandom
from worker.jobs.decisions.poll_schedule import first_poll_delay, next_poll_delay

ABOUT_90 = RunHistory.from_newest_first(timedelta(seconds=60 + 0.3 * n) for n in range(200))
ABOUT_10 = RunHistory.from_newest_first(timedelta(seconds=8 + 0.02 * n) for n in range(200))
UNKNOWN = RunHistory()


def wait(history: RunHistory, elapsed: float) -> float:
    """The time to the next poll in seconds."""
    span = timedelta(seconds=elapsed)
    return next_poll_delay(span, history, POLICY, MidpointRandom()).total_seconds()


def test_while_little_is_known_the_settings_say() -> None:
    assert first_poll_delay(UNKNOWN, POLICY, MidpointRandom()) == POLICY.initial_poll_delay
    assert wait(UNKNOWN, 50) == 5


def test_while_no_run_ends_nobody_looks() -> None:
    assert (
        first_poll_delay(ABOUT_90, POLICY, MidpointRandom())
        == POLICY.adaptive_polling.max_delay_early
    )
    assert wait(ABOUT_90, 30) == POLICY.adaptive_polling.max_delay_early.total_seconds()


@pytest.mark.parametrize(("history", "elapsed"), [(ABOUT_90, 80), (ABOUT_90, 110), (ABOUT_10, 9)])
def test_where_runs_end_looks_are_near(history: RunHistory, elapsed: float) -> None:
    assert POLICY.polling.min_delay.total_seconds() <= wait(history, elapsed) <= 5


def test_the_nearer_the_last_run_the_nearer_the_look() -> None:
    waits = [wait(ABOUT_90, elapsed) for elapsed in (62, 80, 100, 118)]
    assert waits == sorted(waits, reverse=True)


def test_a_young_job_is_looked_at_within_three_seconds_of_its_end() -> None:
    sparse = RunHistory.from_newest_first(timedelta(seconds=5 + n) for n in range(50))
    assert max(wait(sparse, elapsed) for elapsed in range(5, 54)) <= 3


def test_what_outlasts_all_others_is_looked_at_ever_more_rarely() -> None:
    waits = [wait(ABOUT_10, elapsed) for elapsed in (12, 30, 60, 120, 3600)]
    assert waits == sorted(waits)
    assert (waits[0], waits[-1]) == (1, POLICY.polling.max_delay / SECOND)


@pytest.mark.parametrize("history", [ABOUT_10, ABOUT_90])
def test_no_wait_leaves_the_settings_bounds(history: RunHistory) -> None:
    least, most = POLICY.polling.min_delay / SECOND, POLICY.polling.max_delay / SECOND
    assert all(least <= wait(history, elapsed) <= most for elapsed in range(300))
