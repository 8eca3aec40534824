"""Inputs that fail alternatives are refused in bounded time and memory, and the place is named."""

import tracemalloc
from itertools import pairwise
from typing import Any

import pytest

from core.errors import FieldError
from service.models.alternatives import is_too_large, without_alternatives
from service.models.input_schema import UnusableSchema
from service.models.validation import MESSAGES, compile_schema

NULLABLE_LIST = {"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "null"}]}


def nested(depth: int) -> dict[str, Any]:
    """Lists in lists, each of them nullable."""
    if depth == 0:
        return {"type": "string"}
    inner = {"type": "array", "items": nested(depth - 1)}
    return {"anyOf": [inner, {"type": "null"}]}


def lists(depth: int) -> object:
    return 1 if depth == 0 else [lists(depth - 1)] * 2


def errors(schema: dict[str, Any], value: object) -> tuple[FieldError, ...]:
    validator, _ = compile_schema(schema)
    return validator.errors(value)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        pytest.param(NULLABLE_LIST, [1] * 300_000, id="large-list"),
        pytest.param(nested(12), lists(12), id="nested"),
        pytest.param({"anyOf": [NULLABLE_LIST] * 200}, [1] * 2_000, id="many"),
    ],
)
def test_an_input_that_fits_no_alternative_costs_little(
    field: dict[str, Any], value: object
) -> None:
    schema = {"properties": {"x": field}}
    errors(schema, {"x": 1})
    tracemalloc.start()
    found = errors(schema, {"x": value})
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found[0] == FieldError("/x", MESSAGES["anyOf"])
    assert peak < 2**22


def test_the_errors_beside_an_alternative_are_named_too() -> None:
    schema = {
        "required": ["a"],
        "properties": {
            "a": {"type": "string"},
            "list": {"type": "array", "items": {"properties": {"x": NULLABLE_LIST}}},
            "n": {"allOf": [{"oneOf": [{"type": "integer"}, {"type": "number"}]}]},
        },
    }
    found = errors(schema, {"list": [{"x": None}, {"x": [1]}], "n": 1})
    assert {one.path: one.message for one in found} == {
        "/a": "is required",
        "/list/1/x": MESSAGES["anyOf"],
        "/n": MESSAGES["oneOf"],
    }


def test_an_error_whose_place_was_not_found_is_an_error() -> None:
    schema = {"properties": {"x": {"type": "array", "items": NULLABLE_LIST}}}
    found = errors(schema, {"x": [None] * 100 + [5]})
    assert found == (FieldError("", "does not fit the schema"),)


def test_a_field_may_have_the_name_of_a_keyword() -> None:
    schema = {"properties": {"anyOf": {"type": "string", "default": {"anyOf": 1}}}}
    assert without_alternatives(schema) == schema


@pytest.mark.parametrize(
    ("definition", "too_large"),
    [
        ({"properties": {"next": {"$ref": "#/$defs/n"}}}, False),
        ({"items": {"$ref": "#/$defs/n"}}, False),
        ({"anyOf": [{"items": {"$ref": "#/$defs/n"}}] * 2}, True),
        ({"allOf": [{"items": {"$ref": "#/$defs/n"}}] * 2}, True),
        ({"not": {"items": {"$ref": "#/$defs/n"}}}, True),
    ],
)
def test_a_schema_that_refers_to_itself_in_a_combination_is_not_compiled(
    definition: dict[str, Any], *, too_large: bool
) -> None:
    schema = {"properties": {"x": {"$ref": "#/$defs/n"}}, "$defs": {"n": definition}}
    assert is_too_large(schema) is too_large
    if too_large:
        with pytest.raises(UnusableSchema):
            compile_schema(schema)


def test_references_that_double_are_counted_as_what_they_unfold_to() -> None:
    names = [f"n{number}" for number in range(20)]
    definitions: dict[str, Any] = {
        name: {"anyOf": [{"items": {"$ref": f"#/$defs/{below}"}}] * 2}
        for name, below in pairwise(names)
    }
    schema = {"$ref": "#/$defs/n0", "$defs": {**definitions, names[-1]: {"type": "string"}}}
    assert is_too_large(schema)
    assert not is_too_large({**schema, "$ref": "#/$defs/n12"})
