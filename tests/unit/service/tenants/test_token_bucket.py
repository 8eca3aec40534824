"""A token bucket lets a burst through, then one event in each interval."""

from datetime import timedelta

from service.tenants.token_bucket import TokenBucket

SECOND = timedelta(seconds=1)
BUCKET = TokenBucket(3, SECOND)


def take(times: int, full_at: timedelta, now: timedelta) -> tuple[int, timedelta]:
    """How many of `times` found a token, and when the bucket is full again."""
    taken = 0
    for _ in range(times):
        has_token, full_at = BUCKET.take(full_at, now)
        taken += has_token
    return taken, full_at


def test_a_full_bucket_has_its_burst_and_no_more() -> None:
    assert take(5, timedelta(), 100 * SECOND) == (3, 103 * SECOND)


def test_a_token_comes_back_in_each_interval() -> None:
    _, full_at = take(3, timedelta(), 100 * SECOND)
    assert take(2, full_at, 101 * SECOND)[0] == 1
    assert take(5, full_at, 110 * SECOND)[0] == 3


def test_refused_events_do_not_add_up() -> None:
    _, full_at = take(1000, timedelta(), 100 * SECOND)
    assert take(1, full_at, 101 * SECOND)[0] == 1
