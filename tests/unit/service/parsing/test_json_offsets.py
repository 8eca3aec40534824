"""A value sliced from a text by its offsets equals the parsed value."""

import pytest

from core.errors import MalformedRequest
from service.parsing.json_offsets import locate_fields


def test_what_is_cut_out_is_as_it_was_written() -> None:
    text = '{"a" : 1.50e0 ,"b":{"x":"}\\u0041,"} , "c":[ 1e400 ,"]" ]}'
    found = locate_fields(text)
    assert [text[slice(*span)] for span in found.values()] == [
        "1.50e0",
        '{"x":"}\\u0041,"}',
        '[ 1e400 ,"]" ]',
    ]


def test_a_name_twice_is_refused_however_it_is_written() -> None:
    with pytest.raises(MalformedRequest):
        locate_fields('{"a": 1, "\\u0061": 2}')


def test_what_is_deeper_than_python_goes_is_refused() -> None:
    deep = "[" * 100_000 + "]" * 100_000
    with pytest.raises(MalformedRequest, match="deeply"):
        locate_fields(f'{{"a": {deep}}}')
