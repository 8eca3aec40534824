"""The breaker over an endpoint: when it closes, for how long, and what opens it."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

import pytest

from core.webhooks.circuit_breaker import Channel, ChannelPolicy
from tests.builders import HOUR, MINUTE, NOW, SECOND, at

POLICY = ChannelPolicy()
NEW = Channel()


def failing(times: int) -> Channel:
    """After so many failures, each as soon as the channel let one through."""
    channel, now = NEW, NOW
    for _ in range(times):
        channel = channel.failed(now, POLICY)
        now = channel.until or now + SECOND
    return channel


def test_a_few_failures_close_it() -> None:
    assert [failing(n).broken for n in range(1, 5)] == [False, False, True, True]
    assert failing(2).until is None
    assert (failing(3).until, failing(3).at_once) == (at(2) + POLICY.first_pause, 1)


def test_pauses_double_up_to_a_bound() -> None:
    untils = [failing(n).until for n in range(3, 14)]
    pauses = [after - before for before, after in pairwise(u for u in untils if u)]
    assert pauses[:5] == [10 * SECOND, 20 * SECOND, 40 * SECOND, 80 * SECOND, 160 * SECOND]
    assert set(pauses[5:]) == {POLICY.longest_pause}


def test_what_left_before_it_closed_tells_nothing_new() -> None:
    closed = failing(3)
    assert closed.failed(at(3), POLICY) is closed


def test_a_success_opens_it_step_by_step() -> None:
    channel, seen = failing(9), []
    for _ in range(7):
        channel = channel.succeeded(at(9999), POLICY)
        seen.append(channel.at_once)
    assert seen == [2, 4, 8, 16, None, None, None]
    assert (channel.broken, channel.until, channel.failing_since) == (False, None, None)


def test_slow_successes_narrow_it_to_a_few_and_quick_ones_widen_it() -> None:
    channel, seen = NEW, []
    for took in [POLICY.slow + SECOND] * 5 + [POLICY.slow] * 4:
        channel = channel.succeeded(NOW, POLICY, took)
        seen.append(channel.at_once)
    assert seen == [16, 8, 4, 4, 4, 8, 16, None, None]
    broken = failing(3).succeeded(at(9999), POLICY, 2 * POLICY.slow)
    assert (broken.at_once, broken.broken) == (POLICY.slow_at_once, False)


def test_a_success_of_a_calm_channel_is_nothing_to_store() -> None:
    assert NEW.succeeded(NOW, POLICY) is NEW
    assert failing(1).succeeded(NOW, POLICY).failures == 0


# What the receiver asks for -> the pause of the whole channel.
ASKED: dict[str, tuple[timedelta | None, timedelta]] = {
    "nothing": (None, POLICY.first_pause),
    "less than ours": (SECOND, POLICY.first_pause),
    "a minute": (MINUTE, MINUTE),
    "a day": (24 * HOUR, POLICY.longest_wait),
}


@pytest.mark.parametrize(("asked", "pause"), ASKED.values(), ids=ASKED.keys())
def test_a_receiver_that_asks_for_less_gets_less(asked: timedelta | None, pause: timedelta) -> None:
    slowed = NEW.slowed(asked, NOW, POLICY)
    assert (slowed.until, slowed.at_once, slowed.broken) == (NOW + pause, 16, False)
    again = slowed.slowed(asked, slowed.until or NOW, POLICY)
    assert again.at_once == 8


def test_many_answers_of_one_burst_count_as_one() -> None:
    slowed = NEW.slowed(None, NOW, POLICY)
    assert slowed.slowed(None, NOW + SECOND, POLICY) is slowed
    longer = slowed.slowed(MINUTE, NOW + SECOND, POLICY)
    assert (longer.until, longer.pauses) == (NOW + SECOND + MINUTE, 1)


def test_a_success_does_not_cut_short_a_pause_that_was_asked_for() -> None:
    slowed = NEW.slowed(MINUTE, NOW, POLICY).succeeded(at(1), POLICY)
    assert slowed.until == NOW + MINUTE
    assert failing(3).succeeded(at(3), POLICY).until is None


def test_five_days_without_a_success_are_enough() -> None:
    channel, now = NEW, NOW
    while not channel.given_up(now, POLICY):
        channel = channel.failed(now, POLICY)
        now = (channel.until or now) + HOUR
        assert now - NOW < timedelta(days=6)
    assert now - NOW >= POLICY.disable_after


def test_an_endpoint_without_events_does_not_fail_meanwhile() -> None:
    once = NEW.failed(NOW, POLICY)
    weeks_later = NOW + timedelta(days=20)
    channel = once.failed(weeks_later, POLICY)
    assert (channel.failing_since, channel.given_up(weeks_later, POLICY)) == (weeks_later, False)
    assert once.failed(NOW + 32 * HOUR, POLICY).failing_since == NOW


def test_a_person_may_open_it_for_one_attempt_or_for_all() -> None:
    closed = failing(5)
    opened = closed.opened()
    assert (opened.until, opened.at_once, opened.broken) == (None, 1, True)
    assert opened.opened() is opened
    assert closed.forgotten() == Channel(closed.version + 1)


@pytest.mark.parametrize("pauses", [0, 5, 1000])
def test_no_number_of_pauses_is_too_many(pauses: int) -> None:
    channel = Channel(broken=True, pauses=pauses).failed(NOW, POLICY)
    assert channel.until is not None
    assert channel.until - NOW <= POLICY.longest_pause
