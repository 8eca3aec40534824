"""What a body may cost before it is refused."""

import tracemalloc
from typing import Any

import orjson
import pytest

from core.errors import MalformedRequest
from service.parsing.json_body import (
    BATCH_VALUES,
    INPUT_VALUES,
    check_number_of_values,
    parse_object,
    reject_duplicate_keys,
)

MIB = 2**20


@pytest.mark.parametrize(
    "many",
    [b"1.5," * 5_000_000, b"[]," * 5_000_000, b'"a":1,' * 1_000_000, b"[" * 5_000_000],
    ids=["numbers", "lists", "fields", "nested"],
)
def test_millions_of_values_are_refused_before_they_are_made(many: bytes) -> None:
    body = b'{"a": [' + many + b"0]}"
    tracemalloc.start()
    with pytest.raises(MalformedRequest, match=r"more than (25,000 values|5,000 fields)"):
        parse_object(body)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < MIB


def test_tens_of_thousands_of_fields_are_refused_before_they_are_validated() -> None:
    body = b"{" + b",".join(b'"field-%d":%d' % (n, n) for n in range(5_001)) + b"}"
    with pytest.raises(MalformedRequest, match="more than 5,000 fields"):
        parse_object(body)


def test_a_large_text_is_one_value() -> None:
    body = b'{"image": "data:image/png;base64,' + b"A" * (20 * MIB) + b'"}'
    assert len(parse_object(body)["image"]) > 20 * MIB


def test_what_stands_in_texts_is_no_value() -> None:
    prompt = 'A cat, a dog; then: [cut] {"wide"}, "x": ' * 10_000
    items = [{"prompt": prompt, "duration": 5}]
    assert parse_object(orjson.dumps({"items": items})) == {"items": items}


class Searched(bytes):
    """Counts how often it is searched."""

    searches = 0

    def find(self, *arguments: Any) -> int:  # noqa: ANN401 - as those of `bytes`
        self.searches += 1
        return super().find(*arguments)


def test_millions_of_texts_beside_each_other_are_not_all_looked_at() -> None:
    body = Searched(b'{"a": "' + b"," * 26_000 + b'"' + b'""' * 500_000 + b"}")
    check_number_of_values(body)
    assert body.searches < 2 * (INPUT_VALUES.values + INPUT_VALUES.fields)
    with pytest.raises(MalformedRequest, match="line 1, column 26009"):
        parse_object(bytes(body))


def test_as_many_values_as_are_allowed_are_read() -> None:
    body = b'{"a": [' + b"1," * (INPUT_VALUES.values - 3) + b"1]}"
    assert len(parse_object(body)["a"]) == INPUT_VALUES.values - 2


def test_a_batch_has_few_values_for_each_of_its_items() -> None:
    items = b'{"items": [' + b"[]," * BATCH_VALUES.values + b"0]}"
    with pytest.raises(MalformedRequest, match="more than 60,000 values"):
        parse_object(items, BATCH_VALUES)


@pytest.mark.parametrize("shift", range(-3, 4))
def test_a_field_that_is_named_twice_is_found_wherever_the_body_is_cut(shift: int) -> None:
    # The body is counted in windows of 16 KiB.
    start = b'{"a": "'
    body = start + b"x" * (16 * 1024 - len(start) - 6 + shift) + b'", "a":"", "b":"c:d"}'
    with pytest.raises(MalformedRequest, match="twice"):
        reject_duplicate_keys(body, parse_object(body))
