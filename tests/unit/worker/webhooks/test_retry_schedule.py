"""Twelve attempts over 84.7 hours, jitter, Retry-After, the end."""

import random
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from core.observability.outcomes import FailureKind
from core.retention import MAX_ATTEMPT_INTERVAL
from worker.webhooks.outcomes import AttemptFailed, AttemptResult, Delivered
from worker.webhooks.retry_schedule import SchedulePolicy, next_attempt_at

NOW = datetime(2026, 11, 22, tzinfo=UTC)
ZERO = timedelta(0)
POLICY = SchedulePolicy()
STEADY = SchedulePolicy(jitter=0.0)
FAILED = AttemptFailed(FailureKind.SERVER_ERROR, ZERO, 500)


def attempt_instants(
    outcome: AttemptResult, policy: SchedulePolicy, seed: int = 1
) -> list[datetime]:
    """The instants of all attempts when each ends at once with `outcome`."""
    rng, instants, now = random.Random(seed), [NOW], NOW
    while following := next_attempt_at(len(instants), outcome, now, rng, policy):
        instants.append(following)
        now = following
    return instants


def test_the_stated_schedule() -> None:
    instants = attempt_instants(FAILED, STEADY)
    waits = [after - before for before, after in pairwise(instants)]
    seconds = [5, 30, 120, 600, 1800, 7200, 18_000, 36_000, 57_600, 79_200, 104_400]
    assert waits == [timedelta(seconds=wait) for wait in seconds]
    assert len(instants) == POLICY.max_attempts == 12
    assert round((instants[-1] - NOW) / timedelta(hours=1), 1) == 84.7


@pytest.mark.parametrize("seed", range(20))
def test_jitter_stays_within_a_tenth(seed: int) -> None:
    instants = attempt_instants(FAILED, POLICY, seed)
    for number, (before, after) in enumerate(pairwise(instants), start=1):
        assert abs((after - before) / POLICY.delays[number] - 1) <= 0.1
    assert instants != attempt_instants(FAILED, POLICY, seed + 1)


def test_what_the_gateway_could_not_do_is_tried_soon_however_often() -> None:
    busy = AttemptFailed(FailureKind.BUSY, ZERO)
    for number in (1, POLICY.max_attempts, 100):
        at = next_attempt_at(number, busy, NOW, random.Random(1), STEADY)
        assert at == NOW + STEADY.busy_delay


@pytest.mark.parametrize("kind", sorted(set(FailureKind) - {FailureKind.GONE, FailureKind.BUSY}))
def test_every_failure_but_gone_is_tried_again(kind: FailureKind) -> None:
    assert len(attempt_instants(AttemptFailed(kind, ZERO), POLICY)) == 12


@pytest.mark.parametrize(
    "outcome", [Delivered(200, ZERO), AttemptFailed(FailureKind.GONE, ZERO, 410)]
)
def test_success_and_gone_end_it(outcome: AttemptResult) -> None:
    assert attempt_instants(outcome, POLICY) == [NOW]


@pytest.mark.parametrize("attempt", [12, 13, 100])
def test_the_twelfth_is_the_last(attempt: int) -> None:
    assert next_attempt_at(attempt, FAILED, NOW, random.Random(1), POLICY) is None


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("seconds", [0, 1, 60, 3600, 21_600])
def test_never_earlier_than_the_receiver_asked(seconds: int, seed: int) -> None:
    asked = timedelta(seconds=seconds)
    slow = AttemptFailed(FailureKind.THROTTLED, ZERO, 429, retry_after=asked)
    instants = attempt_instants(slow, POLICY, seed)
    for number, (before, after) in enumerate(pairwise(instants), start=1):
        assert after - before >= max(asked, POLICY.delays[number] * 0.9)


def test_a_greedy_receiver_is_bounded_and_the_result_outlives_it() -> None:
    greedy = AttemptFailed(FailureKind.THROTTLED, ZERO, 503, retry_after=timedelta(days=9000))
    first = next_attempt_at(1, greedy, NOW, random.Random(1), STEADY)
    assert first == NOW + timedelta(hours=6)
    for seed in range(20):
        assert attempt_instants(greedy, POLICY, seed)[-1] - NOW <= POLICY.max_duration
    assert POLICY.max_duration + timedelta(hours=24) < timedelta(days=7)
    assert POLICY.max_duration < POLICY.max_age
    assert max(POLICY.delays) * (1 + POLICY.jitter) <= MAX_ATTEMPT_INTERVAL
