import copy
import hashlib
from random import Random
from typing import Any

import orjson
import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from core.errors import InvalidInput
from core.fingerprints import (
    MAX_DEPTH,
    NO_DEFAULTS,
    Defaults,
    filled,
    fingerprint,
    nested_deeper,
)

Input = dict[str, Any]

safe_integers = st.integers(-(2**53) + 1, 2**53 - 1)
finite = st.floats(allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | st.text(max_size=8) | finite
any_numbers = scalars | st.integers(-(2**63), 2**64 - 1)


def objects(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Input]:
    keys = st.text(max_size=4)
    values = st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
        max_leaves=12,
    )
    return st.dictionaries(keys, values, max_size=5)


DEFAULTS = Defaults(
    values={"duration": 10, "options": {"b": 2}},
    nested={
        "shots": Defaults(items=Defaults({"duration": 5})),
        "options": Defaults({"a": 1}),
    },
)


def same(one: Input, other: Input, defaults: Defaults = NO_DEFAULTS) -> bool:
    return fingerprint("m", one, defaults) == fingerprint("m", other, defaults)


def by_the_standard(value: Input) -> str:
    document = rfc8785.dumps({"v": 1, "model": "m", "input": value})
    return f"1:{hashlib.sha256(document).hexdigest()}"


def test_a_known_fingerprint_stays_what_it_is_so_that_caches_outlive_an_upgrade() -> None:
    document = b'{"input":{"duration":10,"prompt":"a cat"},"model":"kling","v":1}'
    expected = f"1:{hashlib.sha256(document).hexdigest()}"
    assert fingerprint("kling", {"prompt": "a cat", "duration": 10.0}, NO_DEFAULTS) == expected


@given(objects(scalars | safe_integers))
def test_the_fast_way_gives_the_bytes_of_the_standard(value: Input) -> None:
    large = any(abs(x) > 2**53 - 1 for x in numbers(value))
    assert large or fingerprint("m", value, NO_DEFAULTS) == by_the_standard(value)


def numbers(value: object) -> list[float]:
    if isinstance(value, bool):
        return []
    if isinstance(value, int | float):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [found for item in inner for found in numbers(item)]


@given(objects(any_numbers), st.randoms(use_true_random=False))
def test_the_order_of_fields_does_not_count(value: Input, chance: Random) -> None:
    names = list(value)
    chance.shuffle(names)
    assert same(value, {name: value[name] for name in names})


@given(objects(any_numbers), objects(any_numbers))
def test_inputs_that_differ_have_fingerprints_that_differ(one: Input, other: Input) -> None:
    assert same(one, other) == (typed(one) == typed(other))


def typed(value: object) -> object:
    """Equality as JSON has it: True is not 1, while 1.0 is."""
    if isinstance(value, bool):
        return ("bool", value)
    if isinstance(value, dict):
        return {name: typed(item) for name, item in value.items()}
    return [typed(item) for item in value] if isinstance(value, list) else value


@given(objects(any_numbers))
def test_what_a_parser_gives_back_is_the_same_request(value: Input) -> None:
    assert same(value, orjson.loads(orjson.dumps(value)))


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


@given(objects(any_numbers))
def test_filling_is_done_once_and_leaves_the_input_alone(value: Input) -> None:
    before = copy.deepcopy(value)
    whole = filled(value, DEFAULTS)
    assert filled(whole, DEFAULTS) == whole
    assert value == before
    assert isinstance(whole, dict)
    assert value.keys() <= whole.keys()


def test_values_of_an_unexpected_form_are_left_to_the_schema() -> None:
    value: Input = {"shots": "x", "options": 3, "duration": None}
    assert filled(value, DEFAULTS) == value


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
    assert not nested_deeper(deep(MAX_DEPTH), MAX_DEPTH)
    for levels in (MAX_DEPTH + 1, 900, 100_000):
        assert nested_deeper(deep(levels), MAX_DEPTH)


@pytest.mark.parametrize("value", ["\ud800", float("nan")])
def test_what_json_cannot_carry_is_refused_and_no_crash(value: object) -> None:
    for whole in ({"x": value}, {"x": value, "é": 1}):
        with pytest.raises(InvalidInput):
            fingerprint("m", whole, NO_DEFAULTS)
