"""Which changes of a schema make inputs invalid that were valid."""

from typing import Any

import pytest

from core.models.schema_narrowing import narrowings

NESTED: dict[str, Any] = {"type": "object", "properties": {"a": {"maximum": 5}, "b": {}}}


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ({"maximum": 5}, {"maximum": 4}, "maximum 5 -> 4"),
        ({}, {"minItems": 1}, "minItems None -> 1"),
        ({"type": ["string", "null"]}, {"type": "string"}, "type ['string', 'null'] -> string"),
        ({}, {"type": "string"}, "type None -> string"),
        ({"type": "number"}, {"type": "integer"}, "type number -> integer"),
        ({"enum": [1, 2]}, {"enum": [2]}, "without [1]"),
        ({}, {"pattern": "^a$"}, "pattern none -> ^a$"),
        ({"pattern": "^a"}, {"pattern": "^b"}, "pattern ^a -> ^b"),
        ({"multipleOf": 1}, {"multipleOf": 8}, "multipleOf 1 -> 8"),
        ({}, {"const": "x"}, "const none -> x"),
        ({}, {"uniqueItems": True}, "uniqueItems"),
        ({"nullable": True}, {}, "not nullable any more"),
        ({"anyOf": [{"type": "string"}]}, {"anyOf": [{}]}, "anyOf"),
        ({"items": {"maxLength": 9}}, {"items": {"maxLength": 8}}, "items: maxLength 9 -> 8"),
        ({"items": {}}, {"items": {"type": "string"}}, "items: type None -> string"),
        ({}, {"items": {"type": "string"}}, "items: type None -> string"),
        (NESTED, {**NESTED, "properties": {"a": {"maximum": 1}, "b": {}}}, "a: maximum 5 -> 1"),
        (NESTED, {**NESTED, "properties": {"a": {"maximum": 5}}}, "b: removed none -> True"),
        (NESTED, {**NESTED, "required": ["b"]}, "b required"),
        (NESTED, {**NESTED, "additionalProperties": False}, "additionalProperties: not allowed"),
        ({"validations": {"a": 1}}, {"validations": {"a": 2}}, "validations"),
    ],
)
def test_what_allows_less_is_named(
    before: dict[str, Any], after: dict[str, Any], reason: str
) -> None:
    (found,) = narrowings(before, after)
    assert found.startswith(reason)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"type": "string"}, {}),
        ({"type": "string"}, {"type": ["string", "null"]}),
        ({"type": "integer"}, {"type": "number"}),
        ({"pattern": "^a$"}, {}),
        ({"maximum": 4}, {"maximum": 4.0}),
        ({"minimum": 4}, {"minimum": 3}),
        ({"enum": [1]}, {"enum": [1, 2]}),
        ({"title": "a", "x-order": 1}, {"description": "b", "x-order": 2}),
        ({"nullable": False}, {"nullable": True}),
        (NESTED, {**NESTED, "properties": {**NESTED["properties"], "c": {}}}),
        ({"items": {"maximum": 1}}, {}),
        ({"additionalProperties": False}, {}),
    ],
)
def test_what_allows_as_much_is_nothing(before: dict[str, Any], after: dict[str, Any]) -> None:
    assert list(narrowings(before, after)) == []


def test_a_schema_within_schemas_without_end_is_not_followed() -> None:
    deep: dict[str, Any] = {"maximum": 1}
    shallow: dict[str, Any] = {"maximum": 0}
    for _ in range(200):
        deep, shallow = {"items": deep}, {"items": shallow}
    assert list(narrowings(deep, shallow)) == []
