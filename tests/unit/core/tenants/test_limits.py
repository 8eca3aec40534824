"""Limits that cannot be applied are refused; windows are in UTC; patterns match the whole id."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from core.tenants.limits import (
    MAX_WEIGHT,
    MIN_WEIGHT,
    GlobalLimits,
    Limits,
    Priority,
    Window,
    lua_pattern,
    usage_windows_at,
)

LAST_MOMENT = datetime(2026, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)


@pytest.mark.parametrize(
    "wrong",
    [
        {"weight": 0},
        {"weight": -1},
        {"weight": float("nan")},
        {"weight": float("inf")},
        {"burst": 0},
        {"running": -1},
        {"requests_per_minute": -1},
        {"usd_per_day": -1},
        {"unknown_price_counts": -1},
        {"models": ("",)},
        {"models": ("a\nb",)},
    ],
)
def test_figures_that_no_rule_could_go_by_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Limits(**wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {"submits_per_second": 0},
        {"polls_per_second": -1},
        {"polls_per_second": float("nan")},
        {"running": -1},
        {"models": (("m", -1),)},
    ],
)
def test_global_figures_that_no_rule_could_go_by_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        GlobalLimits(**wrong)


@pytest.mark.parametrize("weight", [MIN_WEIGHT, 1, MAX_WEIGHT])
def test_weights_may_be_anything_between(weight: float) -> None:
    assert Limits(weight=weight).weight == weight


def test_a_stored_record_is_checked_as_well() -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Limits).validate_json('{"weight": 0}')


def test_nothing_is_limited_unless_said() -> None:
    limits = Limits()
    none = {name for name in limits.__slots__ if getattr(limits, name) is None}
    assert none == set(limits.__slots__) - {
        "weight",
        "models",
        "priority",
        "unknown_price",
        "unknown_price_counts",
        "webhook_actions_per_minute",
    }
    assert limits.priority is Priority.HIGH


def test_the_last_moment_of_a_year_is_in_its_day_and_month() -> None:
    day, month = usage_windows_at(LAST_MOMENT)
    ends = datetime(2027, 1, 1, tzinfo=UTC)
    assert (day.kind, day.name, day.resets_at) == (Window.DAY, "20261231", ends)
    assert (month.kind, month.name, month.resets_at) == (Window.MONTH, "202612", ends)


def test_a_microsecond_later_both_are_new() -> None:
    day, month = usage_windows_at(LAST_MOMENT + timedelta(microseconds=1))
    assert (day.name, month.name) == ("20270101", "202701")
    assert month.resets_at == datetime(2027, 2, 1, tzinfo=UTC)


@pytest.mark.parametrize(("year", "days"), [(2026, 28), (2028, 29)])
def test_february_ends_when_it_ends(year: int, days: int) -> None:
    _, month = usage_windows_at(datetime(year, 2, days, 23, 59, tzinfo=UTC))
    assert month.resets_at == datetime(year, 3, 1, tzinfo=UTC)


def test_the_machines_zone_does_not_matter() -> None:
    east = timezone(timedelta(hours=14))
    assert usage_windows_at(LAST_MOMENT.astimezone(east)) == usage_windows_at(LAST_MOMENT)


@pytest.mark.parametrize(
    ("pattern", "lua"),
    [
        ("kling/*", "^kling%/.*$"),
        ("a.b-c+d%", "^a%.b%-c%+d%%$"),
        ("*", "^.*$"),
        ("**", "^.*$"),
        ("[x]^$(y)", "^%[x%]%^%$%(y%)$"),
    ],
)
def test_a_pattern_has_no_magic_but_the_star(pattern: str, lua: str) -> None:
    assert lua_pattern(pattern) == lua
