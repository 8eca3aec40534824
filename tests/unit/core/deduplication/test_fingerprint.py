"""Fingerprints: which inputs count as identical."""

import hashlib

import pytest

from core.deduplication.fingerprint import (
    MAX_DEPTH,
    NO_DEFAULTS,
    fill_defaults,
    fingerprint,
    is_nested_deeper,
)
from core.errors import InvalidInput
from tests.support.fingerprints import DEFAULTS, Input, same


def test_a_known_fingerprint_stays_what_it_is_so_that_caches_outlive_an_upgrade() -> None:
    document = b'{"input":{"duration":10,"prompt":"a cat"},"model":"kling","v":1}'
    expected = f"1:{hashlib.sha256(document).hexdigest()}"
    assert fingerprint("kling", {"prompt": "a cat", "duration": 10.0}, NO_DEFAULTS) == expected


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (10, 10.0),
        (0, -0.0),
        (2**60, float(2**60)),
        (-(2**60), -float(2**60)),
        (1e20, 100000000000000000000.0),
    ],
)
def test_numbers_of_equal_value_are_one(one: float, other: float) -> None:
    assert same({"seed": one}, {"seed": other})
    assert same({"seed": [one, 0.5]}, {"seed": [other, 0.5]})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, True),
        (0, False),
        (1, "1"),
        (None, "null"),
        (None, False),
        (2**53, 2**53 + 1),
        (2**64 - 1, 2**64 - 2),
        (2**60, str(2**60)),
        (2**60, f"n{2**60}"),
        ([], {}),
        ("", None),
        ("é", "e\u0301"),
    ],
)
def test_values_that_only_look_alike_are_two(one: object, other: object) -> None:
    assert not same({"seed": one}, {"seed": other})


def test_a_large_number_elsewhere_does_not_make_strings_and_numbers_one() -> None:
    assert not same({"big": 2**60, "x": 1}, {"big": 2**60, "x": "n1"})
    assert not same({"big": 2**60, "x": "1"}, {"big": 2**60, "x": "s1"})


def test_the_model_counts() -> None:
    assert fingerprint("a", {}, NO_DEFAULTS) != fingerprint("b", {}, NO_DEFAULTS)


def test_an_absent_field_means_its_default_at_every_depth() -> None:
    spelled: Input = {
        "duration": 10,
        "options": {"a": 1, "b": 2},
        "shots": [{"duration": 5}, {"duration": 3}],
    }
    assert same({"shots": [{}, {"duration": 3}]}, spelled, DEFAULTS)
    assert not same({"shots": [{}, {"duration": 4}]}, spelled, DEFAULTS)
    assert not same({}, {"shots": []}, DEFAULTS)


def test_values_of_an_unexpected_form_are_left_to_the_schema() -> None:
    value: Input = {"shots": "x", "options": 3, "duration": None}
    assert fill_defaults(value, DEFAULTS) == value


def test_null_reads_as_the_default_and_a_given_value_as_itself() -> None:
    assert DEFAULTS.effective({"duration": None}, "duration") == 10
    assert DEFAULTS.effective({}, "duration") == 10
    assert DEFAULTS.effective({"duration": 0}, "duration") == 0
    assert DEFAULTS.effective({}, "prompt") is None


def deep(levels: int) -> Input:
    value: Input = {"leaf": 1}
    for _ in range(levels):
        value = {"x": value}
    return value


def test_nesting_is_bounded_before_anything_recurses() -> None:
    assert fingerprint("m", deep(MAX_DEPTH), NO_DEFAULTS)
    assert not is_nested_deeper(deep(MAX_DEPTH), MAX_DEPTH)
    for levels in (MAX_DEPTH + 1, 900, 100_000):
        assert is_nested_deeper(deep(levels), MAX_DEPTH)


@pytest.mark.parametrize("value", ["\ud800", float("nan")])
def test_what_json_cannot_carry_is_refused_and_no_crash(value: object) -> None:
    for whole in ({"x": value}, {"x": value, "é": 1}):
        with pytest.raises(InvalidInput):
            fingerprint("m", whole, NO_DEFAULTS)
