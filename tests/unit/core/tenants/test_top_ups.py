"""Top-ups raise a budget once, until they end, and what one window used is gone in the next."""

from datetime import UTC, date, datetime

import pytest

from core.money import MicroUsd
from core.tenants.top_ups import TopUp, limit_with_top_ups, without_ended
from core.tenants.windows import UTC_CALENDAR, Window


def at(day: str) -> datetime:
    """Noon of a day."""
    return datetime.fromisoformat(f"{day}T12:00").replace(tzinfo=UTC)


def top_up(amount: int, first: str, last: str, *windows: Window) -> TopUp:
    """A top-up from noon of the first day to the end of the last."""
    days = date.fromisoformat(first), date.fromisoformat(last)
    until = datetime.fromisoformat(f"{last}T23:59:59").replace(tzinfo=UTC)
    return TopUp(MicroUsd(amount), windows or (Window.MONTH,), at(first), until, *days, "why")


OCTOBER = top_up(50, "2026-10-10", "2026-12-31")
SHORT = top_up(30, "2026-10-20", "2026-10-31")
DAILY = top_up(10, "2026-10-10", "2026-10-12", Window.DAY)


@pytest.mark.parametrize(
    ("top_ups", "now", "past", "limit"),
    [
        ((), "2026-10-15", {}, 100),
        ((OCTOBER,), "2026-10-15", {}, 150),
        # The present window is not what was used earlier.
        ((OCTOBER,), "2026-10-15", {"M20261001": 140}, 150),
        ((OCTOBER,), "2026-11-15", {"M20261001": 140}, 110),
        ((OCTOBER,), "2026-12-15", {"M20261001": 120, "M20261101": 125}, 105),
        ((OCTOBER,), "2026-12-15", {"M20261001": 190}, 100),
        # What was used before it began is not its own.
        ((OCTOBER,), "2026-10-15", {"M20260901": 190}, 150),
        ((OCTOBER,), "2027-01-01", {}, 100),
        # The one that ends first is used first.
        ((OCTOBER, SHORT), "2026-10-25", {}, 180),
        ((OCTOBER, SHORT), "2026-11-15", {"M20261001": 130}, 150),
        ((OCTOBER, SHORT), "2026-11-15", {"M20261001": 145}, 135),
    ],
)
def test_the_budget_of_a_month(
    top_ups: tuple[TopUp, ...], now: str, past: dict[str, int], limit: int
) -> None:
    name = UTC_CALENDAR.windows_at(at(now))[2].name
    assert limit_with_top_ups(100, (Window.MONTH, name), past, top_ups, at(now)) == limit


def test_only_the_named_windows_are_raised() -> None:
    now = at("2026-10-11")
    day = (Window.DAY, "D20261011")
    assert limit_with_top_ups(5, day, {"D20261010": 8}, (OCTOBER, DAILY), now) == 12


def test_an_ended_one_is_kept_while_it_explains_what_was_used() -> None:
    assert without_ended((OCTOBER, SHORT), at("2026-11-15")) == (OCTOBER, SHORT)
    assert without_ended((SHORT,), at("2026-11-15")) == ()
