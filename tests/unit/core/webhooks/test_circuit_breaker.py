"""An endpoint's circuit breaker: when it opens, for how long, and what closes it."""

from datetime import timedelta
from itertools import pairwise

import pytest

from core.webhooks.circuit_breaker import EndpointCircuit, EndpointCircuitPolicy
from tests.support.records import HOUR, MINUTE, NOW, SECOND, at

POLICY = EndpointCircuitPolicy()
NEW = EndpointCircuit()


def after_failures(times: int) -> EndpointCircuit:
    """The breaker after `count` failures, each at the first moment it allows an attempt."""
    channel, now = NEW, NOW
    for _ in range(times):
        channel = channel.record_failure(now, POLICY)
        now = channel.paused_until or now + SECOND
    return channel


def test_a_few_failures_close_it() -> None:
    assert [after_failures(n).is_open for n in range(1, 5)] == [False, False, True, True]
    assert after_failures(2).paused_until is None
    assert (after_failures(3).paused_until, after_failures(3).max_concurrency) == (
        at(2) + POLICY.initial_pause,
        1,
    )


def test_pauses_double_up_to_a_bound() -> None:
    untils = [after_failures(n).paused_until for n in range(3, 14)]
    pauses = [after - before for before, after in pairwise(u for u in untils if u)]
    assert pauses[:5] == [10 * SECOND, 20 * SECOND, 40 * SECOND, 80 * SECOND, 160 * SECOND]
    assert set(pauses[5:]) == {POLICY.max_pause}


def test_what_left_before_it_closed_tells_nothing_new() -> None:
    closed = after_failures(3)
    assert closed.record_failure(at(3), POLICY) is closed


def test_a_success_opens_it_step_by_step() -> None:
    channel, seen = after_failures(9), []
    for _ in range(7):
        channel = channel.record_success(at(9999), POLICY)
        seen.append(channel.max_concurrency)
    assert seen == [2, 4, 8, 16, None, None, None]
    assert (channel.is_open, channel.paused_until, channel.failing_since) == (False, None, None)


def test_slow_successes_narrow_it_to_a_few_and_quick_ones_widen_it() -> None:
    channel, seen = NEW, []
    for took in [POLICY.slow_threshold + SECOND] * 5 + [POLICY.slow_threshold] * 4:
        channel = channel.record_success(NOW, POLICY, took)
        seen.append(channel.max_concurrency)
    assert seen == [16, 8, 4, 4, 4, 8, 16, None, None]
    broken = after_failures(3).record_success(at(9999), POLICY, 2 * POLICY.slow_threshold)
    assert (broken.max_concurrency, broken.is_open) == (POLICY.min_concurrency, False)


def test_a_success_of_a_calm_channel_is_nothing_to_store() -> None:
    assert NEW.record_success(NOW, POLICY) is NEW
    assert after_failures(1).record_success(NOW, POLICY).consecutive_failures == 0


# What the receiver asks for -> the pause of the whole channel.
STATUS_CODES: dict[str, tuple[timedelta | None, timedelta]] = {
    "nothing": (None, POLICY.initial_pause),
    "less than ours": (SECOND, POLICY.initial_pause),
    "a minute": (MINUTE, MINUTE),
    "a day": (24 * HOUR, POLICY.max_retry_after),
}


@pytest.mark.parametrize(("asked", "pause"), STATUS_CODES.values(), ids=STATUS_CODES.keys())
def test_a_receiver_that_asks_for_less_gets_less(asked: timedelta | None, pause: timedelta) -> None:
    slowed = NEW.record_throttle(asked, NOW, POLICY)
    assert (slowed.paused_until, slowed.max_concurrency, slowed.is_open) == (NOW + pause, 16, False)
    again = slowed.record_throttle(asked, slowed.paused_until or NOW, POLICY)
    assert again.max_concurrency == 8


def test_many_answers_of_one_burst_count_as_one() -> None:
    slowed = NEW.record_throttle(None, NOW, POLICY)
    assert slowed.record_throttle(None, NOW + SECOND, POLICY) is slowed
    longer = slowed.record_throttle(MINUTE, NOW + SECOND, POLICY)
    assert (longer.paused_until, longer.consecutive_pauses) == (NOW + SECOND + MINUTE, 1)


def test_a_success_does_not_cut_short_a_pause_that_was_asked_for() -> None:
    slowed = NEW.record_throttle(MINUTE, NOW, POLICY).record_success(at(1), POLICY)
    assert slowed.paused_until == NOW + MINUTE
    assert after_failures(3).record_success(at(3), POLICY).paused_until is None


def test_five_days_without_a_success_are_enough() -> None:
    channel, now = NEW, NOW
    while not channel.is_exhausted(now, POLICY):
        channel = channel.record_failure(now, POLICY)
        now = (channel.paused_until or now) + HOUR
        assert now - NOW < timedelta(days=6)
    assert now - NOW >= POLICY.disable_after


def test_an_endpoint_without_events_does_not_fail_meanwhile() -> None:
    once = NEW.record_failure(NOW, POLICY)
    weeks_later = NOW + timedelta(days=20)
    channel = once.record_failure(weeks_later, POLICY)
    assert (channel.failing_since, channel.is_exhausted(weeks_later, POLICY)) == (
        weeks_later,
        False,
    )
    assert once.record_failure(NOW + 32 * HOUR, POLICY).failing_since == NOW


def test_a_person_may_open_it_for_one_attempt_or_for_all() -> None:
    closed = after_failures(5)
    opened = closed.reset_pause()
    assert (opened.paused_until, opened.max_concurrency, opened.is_open) == (None, 1, True)
    assert opened.reset_pause() is opened
    assert closed.reset() == EndpointCircuit(closed.version + 1)
    assert closed.reset().reset() == closed.reset()


@pytest.mark.parametrize("pauses", [0, 5, 1000])
def test_no_number_of_pauses_is_too_many(pauses: int) -> None:
    channel = EndpointCircuit(is_open=True, consecutive_pauses=pauses).record_failure(NOW, POLICY)
    assert channel.paused_until is not None
    assert channel.paused_until - NOW <= POLICY.max_pause
