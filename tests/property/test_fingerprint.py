import copy
import hashlib
from random import Random
from typing import Any

import orjson
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from core.deduplication.fingerprint import NO_DEFAULTS, fill_defaults, fingerprint
from tests.support.fingerprints import DEFAULTS, Input, same

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


def canonical_by_rfc8785(value: Input) -> str:
    document = rfc8785.dumps({"v": 1, "model": "m", "input": value})
    return f"1:{hashlib.sha256(document).hexdigest()}"


@given(objects(scalars | safe_integers))
def test_the_fast_way_gives_the_bytes_of_the_standard(value: Input) -> None:
    large = any(abs(x) > 2**53 - 1 for x in numbers(value))
    assert large or fingerprint("m", value, NO_DEFAULTS) == canonical_by_rfc8785(value)


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


@given(objects(any_numbers))
def test_filling_is_done_once_and_leaves_the_input_alone(value: Input) -> None:
    before = copy.deepcopy(value)
    whole = fill_defaults(value, DEFAULTS)
    assert fill_defaults(whole, DEFAULTS) == whole
    assert value == before
    assert isinstance(whole, dict)
    assert value.keys() <= whole.keys()
