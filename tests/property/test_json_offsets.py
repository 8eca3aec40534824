import json
from typing import Any, Final

from hypothesis import given
from hypothesis import strategies as st

from service.parsing.json_offsets import locate_elements, locate_fields

VALUES: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)

BLANKS: Final = st.sampled_from(["", " ", "\n", "\t \r\n"])


@given(
    st.dictionaries(st.text(), VALUES, max_size=4),
    st.sampled_from([None, 1]),
    BLANKS,
    st.booleans(),
)
def test_fields_stand_where_a_parser_finds_them(
    value: dict[str, Any], indent: int | None, blank: str, encoding: str
) -> None:
    text = blank + json.dumps(value, indent=indent, ensure_ascii=encoding == "ascii") + blank
    found = {name: json.loads(text[slice(*span)]) for name, span in locate_fields(text).items()}
    assert found == value


@given(st.lists(VALUES, max_size=4), BLANKS)
def test_elements_stand_in_their_order(values: list[Any], blank: str) -> None:
    text = blank.join(["[", ",".join(blank + json.dumps(one) + blank for one in values), "]"])
    assert [json.loads(text[slice(*span)]) for span in locate_elements(text, 0)] == values
