"""Limits that cannot be applied are refused; patterns match the whole id."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from core.tenants.limits import (
    MAX_WEIGHT,
    MIN_WEIGHT,
    GlobalLimits,
    Limits,
    Priority,
    lua_pattern,
)


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
