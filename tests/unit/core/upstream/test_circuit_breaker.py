"""When the submit breaker opens, for how long, and what closes it."""

from datetime import timedelta

import pytest

from core.money import MicroUsd
from core.upstream.circuit_breaker import BreakerPolicy, BreakerReason, BreakerState, CircuitBreaker
from tests.support.records import MINUTE, NOW, SECOND, at

S, R = BreakerState, BreakerReason
POLICY = BreakerPolicy(failure_threshold=3)
CLOSED = CircuitBreaker()
REFUSED = CLOSED.record_refusal(R.ACCOUNT_REFUSED, "401", NOW, POLICY)
FAILING = CLOSED
for _ in range(3):
    FAILING = FAILING.record_failure("timeout", NOW, POLICY)


def after_failures(breaker: CircuitBreaker, times: int) -> CircuitBreaker:
    for _ in range(times):
        breaker = breaker.record_failure("timeout", NOW, POLICY)
    return breaker


def test_at_first_it_is_closed() -> None:
    assert CLOSED.blocked_until(NOW) is None
    assert CLOSED.record_success() is CLOSED


def test_a_refused_account_opens_at_once() -> None:
    assert REFUSED.state is S.OPEN
    assert (REFUSED.reason, REFUSED.detail, REFUSED.opened_at) == (R.ACCOUNT_REFUSED, "401", NOW)
    assert REFUSED.blocked_until(NOW) == REFUSED.retry_at == at(5)


def test_failures_open_when_they_come_in_a_row() -> None:
    assert after_failures(CLOSED, 2).state is S.CLOSED
    assert after_failures(CLOSED, 3).state is S.OPEN
    assert after_failures(CLOSED, 3).reason is R.FAILING
    assert after_failures(after_failures(CLOSED, 2).record_success(), 2).state is S.CLOSED


def test_when_its_time_has_come_one_may_try() -> None:
    assert FAILING.blocked_until(at(14.9)) == at(15)
    assert FAILING.blocked_until(at(15)) is None
    probing = FAILING.start_probe(at(15), POLICY, "job-1")
    assert probing.blocked_until(at(16), "job-1") is None
    assert probing.blocked_until(at(16), "job-2") == at(15 + 45)
    assert probing.state is S.HALF_OPEN
    assert probing.blocked_until(at(16)) == at(15 + 45)
    assert probing.blocked_until(at(15 + 45)) is None


@pytest.mark.parametrize(
    ("opened", "expected"),
    [(FAILING, [15, 30, 60, 120, 240, 300, 300]), (REFUSED, [5, 10, 20, 30, 30, 30, 30])],
    ids=["failing", "refused"],
)
def test_a_probe_that_fails_doubles_the_pause(opened: CircuitBreaker, expected: list[int]) -> None:
    breaker, now, pauses = opened, NOW, []
    for _ in expected:
        assert breaker.retry_at is not None
        pauses.append((breaker.retry_at - now) / SECOND)
        now = breaker.retry_at
        probing = breaker.start_probe(now, POLICY)
        if opened is REFUSED:
            breaker = probing.record_refusal(R.ACCOUNT_REFUSED, "401", now, POLICY)
        else:
            breaker = probing.record_failure("timeout", now, POLICY)
    assert pauses == expected
    assert breaker.opened_at == NOW


def test_one_failed_probe_is_enough() -> None:
    again = (
        after_failures(CLOSED, 3)
        .start_probe(at(15), POLICY)
        .record_failure("timeout", at(20), POLICY)
    )
    assert (again.state, again.blocked_until(at(20))) == (S.OPEN, at(50))


@pytest.mark.parametrize("opened", [REFUSED, after_failures(CLOSED, 3)], ids=["refused", "failing"])
def test_submits_that_left_before_the_opening_add_nothing(opened: CircuitBreaker) -> None:
    assert after_failures(opened, 10) == opened
    if opened.reason is R.ACCOUNT_REFUSED:
        assert opened.record_refusal(R.ACCOUNT_REFUSED, "401 again", at(1), POLICY) == opened


def test_a_refusal_is_told_though_it_was_failing_before() -> None:
    told = after_failures(CLOSED, 3).record_refusal(R.ACCOUNT_REFUSED, "403", at(1), POLICY)
    assert (told.reason, told.detail, told.opened_at) == (R.ACCOUNT_REFUSED, "403", NOW)


@pytest.mark.parametrize(
    "state", [REFUSED, REFUSED.start_probe(at(15), POLICY), after_failures(CLOSED, 2)]
)
def test_a_success_forgets_everything(state: CircuitBreaker) -> None:
    assert state.record_success() == CircuitBreaker(version=state.version + 1)
    again = state.record_success().record_refusal(R.ACCOUNT_REFUSED, "401", at(60), POLICY)
    assert again.retry_at == at(65)


def test_a_429_makes_all_wait_as_long_as_it_says() -> None:
    slow = CLOSED.record_throttle(20 * SECOND, NOW, POLICY)
    assert slow.state is S.CLOSED
    assert slow.blocked_until(at(19.9)) == at(20)
    assert slow.blocked_until(at(20)) is None


def test_further_429_double_the_pause_that_none_named() -> None:
    breaker, now, pauses = CLOSED, NOW, []
    for _ in range(10):
        breaker = breaker.record_throttle(None, now, POLICY)
        assert breaker.throttled_until is not None
        pauses.append((breaker.throttled_until - now) / SECOND)
        now = breaker.throttled_until
    assert pauses == [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
    assert (
        breaker.record_success().record_throttle(None, now, POLICY).throttled_until
        == now + 2 * SECOND
    )


def test_many_429_at_once_are_one() -> None:
    breaker = CLOSED
    for _ in range(10):
        breaker = breaker.record_throttle(None, NOW, POLICY)
    assert (breaker.consecutive_throttles, breaker.throttled_until) == (1, at(2))


def test_a_shorter_pause_never_cuts_a_longer_one() -> None:
    slow = CLOSED.record_throttle(MINUTE, NOW, POLICY).record_throttle(SECOND, at(1), POLICY)
    assert slow.throttled_until == at(60)
    assert slow.record_throttle(2 * MINUTE, at(2), POLICY).throttled_until == at(122)


def test_a_success_on_the_way_does_not_end_a_pause_that_runcomfy_asked_for() -> None:
    slow = CLOSED.record_throttle(MINUTE, NOW, POLICY).record_success()
    assert slow.blocked_until(at(1)) == at(60)
    assert slow.consecutive_throttles == 0
    assert slow.record_success() is slow


def test_both_pauses_hold() -> None:
    both = REFUSED.record_throttle(MINUTE, NOW, POLICY)
    assert both.blocked_until(at(20)) == at(60)
    shorter = REFUSED.record_throttle(SECOND, NOW, POLICY)
    assert shorter.blocked_until(at(4)) == at(5)


def test_every_change_is_one_version_on() -> None:
    steps = [
        REFUSED.start_probe(NOW, POLICY),
        REFUSED.record_success(),
        after_failures(CLOSED, 1),
        CLOSED.record_throttle(None, NOW, POLICY),
    ]
    versions = [REFUSED.version, REFUSED.version, 0, 0]
    assert [step.version for step in steps] == [version + 1 for version in versions]


def test_the_numbers_that_operators_are_told() -> None:
    policy = BreakerPolicy()
    assert policy.failure_threshold == 5
    assert (policy.initial_pause, policy.max_pause) == (15 * SECOND, 5 * MINUTE)
    assert policy.probe_timeout > timedelta(seconds=30)


def test_failures_that_may_be_a_model_s_own_open_nothing() -> None:
    breaker = CLOSED
    for _ in range(10):
        breaker = breaker.record_failure("timeout", NOW, POLICY, is_enough=False)
    assert breaker.state is S.CLOSED
    assert breaker.record_failure("timeout", NOW, POLICY).state is S.OPEN


def test_a_cheaper_refusal_lowers_the_price_and_opens_nothing_again() -> None:
    why = R.INSUFFICIENT_BALANCE
    dear = CLOSED.record_refusal(why, "402", NOW, POLICY, MicroUsd(500))
    cheap = dear.record_refusal(why, "402", at(1), POLICY, MicroUsd(20))
    assert (cheap.min_price, cheap.retry_at) == (20, dear.retry_at)
    assert cheap.record_refusal(why, "402", at(1), POLICY, MicroUsd(500)) is cheap
    assert cheap.record_success().min_price is None


def test_a_check_that_costs_no_job_postpones_the_probe_until_it_succeeds() -> None:
    later = REFUSED.postpone(at(100))
    assert later.blocked_until(at(60)) == at(100)
    assert later.expedite(at(61)).blocked_until(at(61)) is None
    assert REFUSED.expedite(at(1)) is REFUSED  # its own pause holds: the check is no proof
    assert CLOSED.postpone(at(9)) is CLOSED
    probing = REFUSED.start_probe(at(5), POLICY)
    assert probing.postpone(at(100)) is probing


def test_distinct_models_agree() -> None:
    breaker = CLOSED
    for model in ("a", "a", "b", "b"):
        breaker = breaker.add_evidence("failed", model, POLICY)
    breaker = breaker.add_evidence("throttled", "c", POLICY)
    assert not breaker.agrees_on("failed", POLICY)
    breaker = breaker.add_evidence("failed", "c", POLICY)
    assert breaker.agrees_on("failed", POLICY)
    assert breaker.add_evidence("failed", "d", POLICY) is breaker
    assert not breaker.agrees_on("throttled", POLICY)


def test_an_operator_closes_whatever_it_was() -> None:
    both = REFUSED.record_throttle(MINUTE, NOW, POLICY)
    assert both.reset() == CircuitBreaker(version=both.version + 1)
    assert CLOSED.reset() is CLOSED
