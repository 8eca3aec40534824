from typing import Any

import pytest

from core.deduplication.fingerprint import Defaults
from service.models.input_schema import TYPES, UnusableSchema, defaults_of, normalise_schema


def read(schema: dict[str, Any], *, closed: bool = False) -> dict[str, Any]:
    return dict(normalise_schema(schema, forbid_unknown_fields=closed).schema)


def one(field: dict[str, Any]) -> object:
    """The normalized schema of one field."""
    return read({"properties": {"x": field}})["properties"]["x"]


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ({"type": "float"}, {"type": "number"}),
        ({"type": "int"}, {"type": "integer"}),
        ({"type": ["float", "null"]}, {"type": ["number", "null"]}),
        ({"type": ["int", "integer"]}, {"type": ["integer"]}),
        ({"type": "string", "format": "str"}, {"type": "string"}),
        (
            {"type": "integer", "format": "int_slider_with_range", "minimum": 3, "maximum": 15},
            {"type": "integer", "minimum": 3, "maximum": 15},
        ),
        ({"type": "string", "title": "X", "description": "y"}, {"type": "string"}),
        ({"type": "string", "format": "image_uri"}, {"type": "string"}),
        ({"validations": [{"validation_rule": "file_size_mb<"}]}, {}),
        ({"type": "integer", "default": 5}, {"type": "integer", "default": 5}),
        ({"type": "integer", "default": None}, {"type": ["integer", "null"]}),
        ({"type": "string", "nullable": True}, {"type": ["null", "string"]}),
        ({"enum": ["a"], "default": None}, {"enum": ["a", None]}),
        ({"enum": ["a", None], "default": None}, {"enum": ["a", None]}),
        (
            {"required": ["a", "a"], "properties": {"a": True}},
            {"required": ["a"], "properties": {"a": True}},
        ),
        ({"const": None}, {"const": None}),
        ({"pattern": r"^[\w-]+\.(png|jpe?g)$"}, {"pattern": r"^[\w-]+\.(png|jpe?g)$"}),
        ({"items": {"type": "float"}}, {"items": {"type": "number"}}),
        ({"anyOf": [{"type": "str"}, True]}, {"anyOf": [{"type": "string"}, True]}),
        ({"$ref": "#/$defs/a"}, {"$ref": "#/$defs/a"}),
        ({"additionalProperties": {"type": "int"}}, {"additionalProperties": {"type": "integer"}}),
    ],
)
def test_quirks_are_read_as_what_they_mean(field: dict[str, Any], expected: object) -> None:
    assert one(field) == expected
    assert normalise_schema({"properties": {"x": field}}).remarks == ()


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("type", "picture"),
        ("type", []),
        ("type", ["string", 3]),
        ("type", None),
        ("minimum", "3"),
        ("minimum", None),
        ("maximum", True),
        ("multipleOf", 0),
        ("multipleOf", "x"),
        ("minLength", -1),
        ("maxItems", 2.5),
        ("maxItems", True),
        ("pattern", 5),
        ("uniqueItems", "yes"),
        ("enum", []),
        ("enum", "abc"),
        ("required", True),
        ("required", [1]),
        ("properties", ["a"]),
        ("items", [{"type": "string"}]),
        ("additionalProperties", "no"),
        ("anyOf", []),
        ("anyOf", {}),
        ("not", 5),
        ("$ref", "https://example.com/schema.json"),
        ("$ref", 5),
        ("$defs", []),
        ("x-order", 5),
        ("if", {"type": "string"}),
    ],
)
def test_what_is_not_understood_is_left_unchecked_and_told(keyword: str, value: object) -> None:
    whole = normalise_schema({"properties": {"x": {keyword: value}}})
    assert whole.schema == {"properties": {"x": {}}}
    assert len(whole.remarks) == 1
    assert whole.remarks[0].startswith(f"/properties/x/{keyword} ")


def test_a_required_name_without_a_property_is_dropped_and_told() -> None:
    whole = normalise_schema({"required": ["prompt", "image"], "properties": {"prompt": {}}})
    assert whole.schema["required"] == ["prompt"]
    assert whole.remarks == ("/required names 'image', which is not a property",)


def test_required_names_without_any_properties_bind_nobody() -> None:
    assert read({"required": ["prompt"]}) == {"required": []}


@pytest.mark.parametrize("field", [None, 5, "string", []])
def test_a_field_without_a_schema_may_be_anything(field: object) -> None:
    whole = normalise_schema({"properties": {"x": field}})
    assert whole.schema == {"properties": {"x": {}}}
    assert whole.remarks == ("/properties/x is not a schema",)


def test_closing_reaches_nested_objects_but_not_the_branches_of_a_combination() -> None:
    inner: dict[str, Any] = {"properties": {"a": {}}}
    whole = read(
        {"properties": {"list": {"items": inner}, "either": {"anyOf": [inner]}, "open": {}}},
        closed=True,
    )
    assert whole["additionalProperties"] is False
    assert whole["properties"]["list"]["items"]["additionalProperties"] is False
    assert "additionalProperties" not in whole["properties"]["either"]["anyOf"][0]
    assert whole["properties"]["open"] == {}


def test_a_schema_that_says_itself_what_else_it_takes_keeps_its_word() -> None:
    whole = read({"properties": {"a": {}}, "additionalProperties": True}, closed=True)
    assert whole["additionalProperties"] is True


@pytest.mark.parametrize("schema", [None, [], "object", 5, True])
def test_what_is_no_object_is_no_schema(schema: object) -> None:
    with pytest.raises(UnusableSchema):
        normalise_schema(schema)


def test_endless_nesting_is_refused() -> None:
    schema: dict[str, Any] = {}
    for _ in range(500):
        schema = {"properties": {"x": schema}}
    with pytest.raises(UnusableSchema):
        normalise_schema(schema)


def test_the_original_is_left_alone() -> None:
    schema = {"type": "object", "required": ["b"], "properties": {"a": {"type": "float"}}}
    normalise_schema(schema, forbid_unknown_fields=True)
    assert schema == {"type": "object", "required": ["b"], "properties": {"a": {"type": "float"}}}


def test_defaults_are_gathered_at_every_depth_and_never_of_required_fields() -> None:
    schema = {
        "required": ["prompt"],
        "properties": {
            "prompt": {"default": "a sample"},
            "seed": {},
            "duration": {"default": 10},
            "shots": {
                "items": {
                    "required": ["text"],
                    "properties": {"text": {"default": "x"}, "duration": {"default": 5}},
                }
            },
            "options": {"properties": {"deep": {"properties": {"n": {"default": 1}}}}},
        },
    }
    deep = Defaults(nested={"deep": Defaults({"n": 1})})
    shots = Defaults(items=Defaults({"duration": 5}))
    assert defaults_of(schema) == Defaults({"duration": 10}, {"shots": shots, "options": deep})


def test_every_type_stands_for_one_of_json_schema() -> None:
    known = {"string", "number", "integer", "boolean", "array", "object", "null"}
    assert set(TYPES.values()) == known


@pytest.mark.parametrize(
    "pattern", [r"(a+)\1", r"^(?=.*x)a$", r"(?<!a)b", "(", r"\p{Nope}", "(a{1000}){1000}", 5]
)
def test_a_pattern_that_no_linear_engine_runs_is_not_checked(pattern: object) -> None:
    got = normalise_schema({"properties": {"x": {"type": "string", "pattern": pattern}}})
    assert got.schema == {"properties": {"x": {"type": "string"}}}
    assert got.remarks == ("/properties/x/pattern is not of a form that JSON Schema knows",)
