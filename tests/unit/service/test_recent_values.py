"""Recent values end by themselves, and are bounded in number."""

from datetime import timedelta

from service.recent_values import RecentValues
from tests.support.clock import FakeClock

LIFETIME = timedelta(seconds=5)


def test_a_value_is_kept_for_its_lifetime() -> None:
    clock = FakeClock()
    values = RecentValues[str, int](clock, LIFETIME, 10)
    values.put("a", 1)
    clock.move(LIFETIME - timedelta(milliseconds=1))
    assert values.get("a") == 1
    clock.move(timedelta(milliseconds=1))
    assert values.get("a") is None


def test_the_oldest_gives_way_and_a_new_value_is_not_old() -> None:
    values = RecentValues[str, int](FakeClock(), LIFETIME, 2)
    for key, value in (("a", 1), ("b", 2), ("a", 3), ("c", 4)):
        values.put(key, value)
    assert (values.get("a"), values.get("b"), values.get("c"), len(values)) == (3, None, 4, 2)


def test_a_forgotten_value_is_gone() -> None:
    values = RecentValues[str, int](FakeClock(), LIFETIME, 2)
    values.put("a", 1)
    values.forget("a")
    values.forget("b")
    assert (values.get("a"), len(values)) == (None, 0)
