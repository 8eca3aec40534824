"""What a body may cost before it is refused."""

import tracemalloc

import pytest

from core.errors import MalformedRequest
from service.parsing.json_body import MAX_VALUES, parse_object

MIB = 2**20


@pytest.mark.parametrize(
    "many",
    [b"1.5," * 5_000_000, b"[]," * 5_000_000, b'"a":1,' * 1_000_000, b"[" * 5_000_000],
    ids=["numbers", "lists", "fields", "nested"],
)
def test_millions_of_values_are_refused_before_they_are_made(many: bytes) -> None:
    body = b'{"a": [' + many + b"0]}"
    tracemalloc.start()
    with pytest.raises(MalformedRequest, match="more than 100,000 values"):
        parse_object(body)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < MIB


def test_tens_of_thousands_of_fields_are_refused_before_they_are_validated() -> None:
    body = b"{" + b",".join(b'"field-%d":%d' % (n, n) for n in range(10_001)) + b"}"
    with pytest.raises(MalformedRequest, match="more than 10,000 fields"):
        parse_object(body)


def test_a_large_text_is_one_value() -> None:
    body = b'{"image": "data:image/png;base64,' + b"A" * (20 * MIB) + b'"}'
    assert len(parse_object(body)["image"]) > 20 * MIB


def test_as_many_values_as_are_allowed_are_read() -> None:
    body = b'{"a": [' + b"1," * (MAX_VALUES - 3) + b"1]}"
    assert len(parse_object(body)["a"]) == MAX_VALUES - 2
