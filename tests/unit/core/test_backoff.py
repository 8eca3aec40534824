"""Backoff: delays double or grow with the time waited, within bounds, and have jitter."""

from datetime import timedelta
from random import Random

import pytest

from core.backoff import Backoff, ProportionalInterval
from tests.support.records import HOUR, MINUTE, SECOND, MidpointRandom

EXACT = MidpointRandom()
BACKOFF = Backoff(initial_delay=SECOND, max_delay=MINUTE, jitter=0.2)
CADENCE = ProportionalInterval(min_delay=2 * SECOND, max_delay=10 * SECOND, ratio=0.1)


@pytest.mark.parametrize(
    ("failures", "seconds"),
    [(0, 1), (1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (8, 60), (10**9, 60)],
)
def test_waits_double_up_to_the_longest(failures: int, seconds: int) -> None:
    assert BACKOFF.delay(failures, EXACT) == seconds * SECOND


@pytest.mark.parametrize(
    ("elapsed", "wait"),
    [
        (timedelta(), 2 * SECOND),
        (-HOUR, 2 * SECOND),
        (20 * SECOND, 2 * SECOND),
        (50 * SECOND, 5 * SECOND),
        (100 * SECOND, 10 * SECOND),
        (HOUR, 10 * SECOND),
    ],
)
def test_looks_are_a_share_of_the_time_waited(elapsed: timedelta, wait: timedelta) -> None:
    assert CADENCE.delay(elapsed, EXACT) == wait


def test_many_do_not_come_at_once() -> None:
    rng = Random(1)
    waits = {BACKOFF.delay(5, rng) for _ in range(50)}
    assert len(waits) == 50
    assert min(waits) < 15 * SECOND < 17 * SECOND < max(waits)
