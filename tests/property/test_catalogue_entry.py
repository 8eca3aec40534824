from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from core.errors import InvalidInput
from service.models import estimate_input, validate_input
from tests.support.models import card

KEYWORDS = st.sampled_from(
    [
        *("type", "properties", "items", "required", "enum", "default", "format", "anyOf"),
        *("$ref", "$defs", "not", "minimum", "pattern", "validations", "additionalProperties"),
    ]
)

LEAVES = st.sampled_from([None, True, 5, -1, "object", "float", "x", "#/$defs/x", "["])

ODD_SCHEMAS = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYWORDS, inner, max_size=4),
    max_leaves=12,
)


@given(ODD_SCHEMAS)
def test_no_schema_whatever_stops_the_service(schema: object) -> None:
    got = card(input_schema=schema)
    with suppress(InvalidInput):
        validate_input(got, {"x": "y", "type": [1]})
    estimate_input(got, {})
