"""When submits stop, for how long, and what lets them go on."""

from __future__ import annotations

from datetime import timedelta

import pytest

from core.circuit_breaker import Breaker, BreakerPolicy, BreakerReason, BreakerState
from tests.builders import MINUTE, NOW, SECOND, at

S, R = BreakerState, BreakerReason
POLICY = BreakerPolicy(failures=3)
CLOSED = Breaker()
REFUSED = CLOSED.refused("401", NOW, POLICY)


def failed(breaker: Breaker, times: int) -> Breaker:
    for _ in range(times):
        breaker = breaker.failed("timeout", NOW, POLICY)
    return breaker


def test_at_first_it_is_closed() -> None:
    assert CLOSED.closed_until(NOW) is None
    assert CLOSED.succeeded() is CLOSED


def test_a_refused_account_opens_at_once() -> None:
    assert REFUSED.state is S.OPEN
    assert (REFUSED.reason, REFUSED.detail, REFUSED.since) == (R.ACCOUNT_REFUSED, "401", NOW)
    assert REFUSED.closed_until(NOW) == REFUSED.until == at(15)


def test_failures_open_when_they_come_in_a_row() -> None:
    assert failed(CLOSED, 2).state is S.CLOSED
    assert failed(CLOSED, 3).state is S.OPEN
    assert failed(CLOSED, 3).reason is R.FAILING
    assert failed(failed(CLOSED, 2).succeeded(), 2).state is S.CLOSED


def test_when_its_time_has_come_one_may_try() -> None:
    assert REFUSED.closed_until(at(14.9)) == at(15)
    assert REFUSED.closed_until(at(15)) is None
    probing = REFUSED.probing(at(15), POLICY)
    assert probing.state is S.PROBING
    assert probing.closed_until(at(16)) == at(15 + 45)
    assert probing.closed_until(at(15 + 45)) is None


def test_a_probe_that_fails_doubles_the_pause_up_to_the_longest() -> None:
    breaker, now, pauses = REFUSED, NOW, []
    for _ in range(8):
        assert breaker.until is not None
        pauses.append((breaker.until - now) / SECOND)
        now = breaker.until
        breaker = breaker.probing(now, POLICY).failed("timeout", now, POLICY)
    assert pauses == [15, 30, 60, 120, 240, 300, 300, 300]
    assert breaker.since == NOW


def test_one_failed_probe_is_enough() -> None:
    again = failed(CLOSED, 3).probing(at(15), POLICY).failed("timeout", at(20), POLICY)
    assert (again.state, again.closed_until(at(20))) == (S.OPEN, at(50))


@pytest.mark.parametrize("opened", [REFUSED, failed(CLOSED, 3)], ids=["refused", "failing"])
def test_submits_that_left_before_the_opening_add_nothing(opened: Breaker) -> None:
    assert failed(opened, 10) == opened
    if opened.reason is R.ACCOUNT_REFUSED:
        assert opened.refused("401 again", at(1), POLICY) == opened


def test_a_refusal_is_told_though_it_was_failing_before() -> None:
    told = failed(CLOSED, 3).refused("403", at(1), POLICY)
    assert (told.reason, told.detail, told.since) == (R.ACCOUNT_REFUSED, "403", NOW)


@pytest.mark.parametrize("state", [REFUSED, REFUSED.probing(at(15), POLICY), failed(CLOSED, 2)])
def test_a_success_forgets_everything(state: Breaker) -> None:
    assert state.succeeded() == Breaker(version=state.version + 1)
    pause = state.succeeded().refused("401", at(60), POLICY).until
    assert pause == at(75)


def test_a_429_makes_all_wait_as_long_as_it_says() -> None:
    slow = CLOSED.throttled(20 * SECOND, NOW, POLICY)
    assert slow.state is S.CLOSED
    assert slow.closed_until(at(19.9)) == at(20)
    assert slow.closed_until(at(20)) is None


def test_further_429_double_the_pause_that_none_named() -> None:
    breaker, now, pauses = CLOSED, NOW, []
    for _ in range(10):
        breaker = breaker.throttled(None, now, POLICY)
        assert breaker.throttled_until is not None
        pauses.append((breaker.throttled_until - now) / SECOND)
        now = breaker.throttled_until
    assert pauses == [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
    assert breaker.succeeded().throttled(None, now, POLICY).throttled_until == now + 2 * SECOND


def test_many_429_at_once_are_one() -> None:
    breaker = CLOSED
    for _ in range(10):
        breaker = breaker.throttled(None, NOW, POLICY)
    assert (breaker.throttles, breaker.throttled_until) == (1, at(2))


def test_a_shorter_pause_never_cuts_a_longer_one() -> None:
    slow = CLOSED.throttled(MINUTE, NOW, POLICY).throttled(SECOND, at(1), POLICY)
    assert slow.throttled_until == at(60)
    assert slow.throttled(2 * MINUTE, at(2), POLICY).throttled_until == at(122)


def test_a_success_on_the_way_does_not_end_a_pause_that_runcomfy_asked_for() -> None:
    slow = CLOSED.throttled(MINUTE, NOW, POLICY).succeeded()
    assert slow.closed_until(at(1)) == at(60)
    assert slow.throttles == 0
    assert slow.succeeded() is slow


def test_both_pauses_hold() -> None:
    both = REFUSED.throttled(MINUTE, NOW, POLICY)
    assert both.closed_until(at(20)) == at(60)
    shorter = REFUSED.throttled(SECOND, NOW, POLICY)
    assert shorter.closed_until(at(5)) == at(15)


def test_every_change_is_one_version_on() -> None:
    steps = [
        REFUSED.probing(NOW, POLICY),
        REFUSED.succeeded(),
        failed(CLOSED, 1),
        CLOSED.throttled(None, NOW, POLICY),
    ]
    versions = [REFUSED.version, REFUSED.version, 0, 0]
    assert [step.version for step in steps] == [version + 1 for version in versions]


def test_the_numbers_that_operators_are_told() -> None:
    policy = BreakerPolicy()
    assert policy.failures == 5
    assert (policy.first_pause, policy.longest_pause) == (15 * SECOND, 5 * MINUTE)
    assert policy.probe > timedelta(seconds=30)
