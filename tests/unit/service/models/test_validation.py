from dataclasses import replace
from typing import Any

import jsonschema_rs
import orjson
import pytest

from core.errors import FieldError
from service.models.input_schema import UnusableSchema
from service.models.validation import (
    MAX_ERRORS,
    MESSAGES,
    compile_schema,
    json_pointer,
    truncate_message,
)


def errors(schema: dict[str, Any], value: object, *, closed: bool = False) -> dict[str, str]:
    validator, _ = compile_schema(schema, forbid_unknown_fields=closed)
    return {error.path: error.message for error in validator.errors(value)}


def field_error(field: dict[str, Any], value: object) -> str | None:
    return errors({"properties": {"x": field}}, {"x": value}).get("/x")


# One row for each message: a schema, a value that breaks it, and what the caller is told.
BROKEN: tuple[tuple[str, dict[str, Any], object, str], ...] = (
    ("type", {"type": "integer"}, "1", "must be of type integer"),
    ("type", {"type": ["integer", "null"]}, "1", "must be of type null, integer"),
    ("enum", {"enum": ["a", 1, None]}, "b", "must be one of a, 1, null"),
    ("const", {"const": "a"}, "b", "must be a"),
    ("minimum", {"minimum": 3}, 2, "must be at least 3"),
    ("maximum", {"maximum": 1.5}, 2, "must be at most 1.5"),
    ("exclusiveMinimum", {"exclusiveMinimum": 3}, 3, "must be greater than 3"),
    ("exclusiveMaximum", {"exclusiveMaximum": 3}, 3, "must be less than 3"),
    ("multipleOf", {"multipleOf": 8}, 9, "must be a multiple of 8"),
    ("minLength", {"minLength": 2}, "a", "must have at least 2 characters"),
    ("maxLength", {"maxLength": 2}, "abc", "must have at most 2 characters"),
    ("pattern", {"pattern": "^a+$"}, "b", "must match the pattern ^a+$"),
    ("minItems", {"minItems": 1}, [], "must have at least 1 items"),
    ("maxItems", {"maxItems": 1}, [1, 2], "must have at most 1 items"),
    ("uniqueItems", {"uniqueItems": True}, [1, 1], "must not hold the same item twice"),
    ("minProperties", {"minProperties": 1}, {}, "must have at least 1 fields"),
    ("maxProperties", {"maxProperties": 0}, {"a": 1}, "must have at most 0 fields"),
    (
        "anyOf",
        {"anyOf": [{"type": "string"}, {"type": "null"}]},
        5,
        "fits none of the forms that are allowed here",
    ),
    (
        "oneOf",
        {"oneOf": [{"type": "integer"}, {"type": "number"}]},
        5,
        "must fit exactly one of the forms that are allowed here",
    ),
    ("not", {"not": {"type": "string"}}, "a", "has a form that is not allowed here"),
)


@pytest.mark.parametrize(("keyword", "field", "value", "message"), BROKEN)
def test_each_broken_keyword_is_told_in_our_words(
    keyword: str, field: dict[str, Any], value: object, message: str
) -> None:
    assert keyword in MESSAGES
    assert field_error(field, value) == message


def test_a_field_that_is_not_allowed_at_all() -> None:
    assert errors({"properties": {"x": False}}, {"x": 1}) == {"/x": MESSAGES["falseSchema"]}


def test_every_message_is_tried_above() -> None:
    assert set(MESSAGES) == {row[0] for row in BROKEN} | {"falseSchema"}


@pytest.mark.parametrize(
    ("field", "value", "fits"),
    [
        ({"type": "integer"}, 10, True),
        ({"type": "integer"}, 10.0, True),
        ({"type": "integer"}, 10.5, False),
        ({"type": "integer"}, True, False),
        ({"type": "float"}, True, False),
        ({"type": "float"}, 1, True),
        ({"type": "boolean"}, 1, False),
        ({"type": "integer", "maximum": 15}, 1e308, False),
        ({"type": "integer"}, 2**64 - 1, True),
        ({"type": "integer"}, None, True),
        ({"type": "integer", "default": None}, None, True),
        ({"type": "string"}, "", True),
    ],
)
def test_values_at_the_edges_of_types(field: dict[str, Any], value: object, *, fits: bool) -> None:
    assert (field_error(field, value) is None) is fits


CLOSED = {
    "required": ["prompt"],
    "properties": {
        "prompt": {"type": "string"},
        "list": {"type": "array", "items": {"properties": {"duration": {"type": "integer"}}}},
    },
}


def test_errors_point_at_the_field_and_help() -> None:
    value = {"promt": "x", "list": [{}, {"duration": "3"}, {"durations": 3, "a/b~c": 1}]}
    assert errors(CLOSED, value, closed=True) == {
        "/prompt": "is required",
        "/promt": "is not a field of this model; did you mean prompt?",
        "/list/1/duration": "must be of type integer",
        "/list/2/durations": "is not a field of this model; did you mean duration?",
        "/list/2/a~1b~0c": "is not a field of this model",
    }


def test_unknown_fields_pass_where_the_card_does_not_close_the_model() -> None:
    assert errors(CLOSED, {"prompt": "x", "new": 1, "list": [{"new": 1}]}) == {}


def test_no_message_repeats_a_value_or_grows_with_it() -> None:
    secret = "s3cret" * 10_000
    value = {"x": secret, secret: 1, "y": {"z": [secret]}}
    schema = {
        "properties": {
            "x": {"enum": ["a"], "maxLength": 3, "pattern": "^a$", "type": "integer"},
            "y": {"properties": {"z": {"anyOf": [{"type": "string"}], "maxItems": 0}}},
        }
    }
    validator, _ = compile_schema(schema, forbid_unknown_fields=True)
    found = validator.errors(value)
    assert len(found) == 7
    assert all(secret[:200] not in error.message + error.path for error in found)
    assert all(len(error.message) <= 300 and len(error.path) <= 120 for error in found)


def test_a_long_list_of_options_is_cut() -> None:
    short = field_error({"enum": list(range(21))}, "x")
    assert short == f"must be one of {', '.join(map(str, range(20)))}, …"
    long = field_error({"enum": ["option" * 100]}, "x")
    assert long
    assert len(long) == 300
    assert long.endswith("…")


@pytest.mark.parametrize(
    "value",
    [
        {"list": [{"duration": "x"}] * 1000},
        {f"unknown-{n}": n for n in range(1000)},
    ],
)
def test_errors_are_few_however_many_there_are(value: dict[str, Any]) -> None:
    validator, _ = compile_schema(CLOSED, forbid_unknown_fields=True)
    assert 1 <= len(validator.errors(value)) <= MAX_ERRORS


def test_a_body_of_a_million_wrong_items_is_judged_by_its_first() -> None:
    validator, _ = compile_schema({"items": {"type": "string"}})
    assert validator.errors([1] * 1_000_000) == (FieldError("/0", "must be of type string"),)


def test_a_field_that_contradicts_its_own_default_is_not_checked() -> None:
    schema = {
        "properties": {
            "duration": {"type": "integer", "enum": ["5", "10"], "default": 5},
            "seed": {"type": "integer"},
        }
    }
    validator, read = compile_schema(schema)
    assert validator.errors({"duration": "10"}) == ()
    assert [error.path for error in validator.errors({"seed": "10"})] == ["/seed"]
    assert read.remarks == ("/properties/duration does not fit its own default",)


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"x": {"$ref": "#/$defs/absent"}}},
    ],
)
def test_a_schema_that_cannot_be_compiled_says_so(schema: dict[str, Any]) -> None:
    with pytest.raises(UnusableSchema):
        compile_schema(schema)


@pytest.mark.parametrize(
    "value",
    [
        {"x": None, "y": {"a": None}, "z": [{"a": None}, {"a": 1}]},
        {"x": 1, "y": {}, "z": [], "w": None},
        {"y": {"a": 5}, "e": ""},
    ],
)
def test_null_in_an_optional_field_is_as_if_it_were_absent(value: dict[str, Any]) -> None:
    part = {"type": "object", "properties": {"a": {"type": "integer"}}}
    schema = {
        "required": ["y"],
        "properties": {
            "x": {"enum": [1]},
            "y": part,
            "z": {"type": "array", "items": part},
            "w": {"anyOf": [{"type": "string"}, {"type": "object"}]},
            "e": {"type": "string", "minLength": 5},
        },
    }
    validator = replace(compile_schema(schema)[0], empty_fields=frozenset({"e"}))
    assert validator.errors(value) == ()
    (error,) = validator.errors({**value, "y": None})
    assert (error.path, error.message) == ("/y", "must be of type object")


def test_null_stays_wrong_in_a_list_and_in_an_unknown_field() -> None:
    schema = {"properties": {"x": {"type": "array", "items": {"type": "string"}}}}
    validator, _ = compile_schema(schema, forbid_unknown_fields=True)
    assert [error.path for error in validator.errors({"x": [None]})] == ["/x/0"]
    assert [error.path for error in validator.errors({"z": None})] == ["/z"]


def test_references_inside_the_schema_work() -> None:
    schema = {
        "properties": {"tree": {"$ref": "#/$defs/tree"}},
        "$defs": {
            "tree": {
                "type": "object",
                "properties": {"leaf": {"type": "int"}, "next": {"$ref": "#/$defs/tree"}},
            }
        },
    }
    value = {"tree": {"next": {"next": {"leaf": "x", "laef": 1}}}}
    assert errors(schema, value, closed=True) == {
        "/tree/next/next/leaf": "must be of type integer",
        "/tree/next/next/laef": "is not a field of this model; did you mean leaf?",
    }


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ([], ""),
        (["a"], "/a"),
        (["a", 0, "b"], "/a/0/b"),
        (["~", "/"], "/~0/~1"),
        ([""], "/"),
        (["x" * 200], "/" + "x" * 99 + "…"),
    ],
)
def test_pointers_follow_rfc_6901(path: list[str | int], text: str) -> None:
    assert json_pointer(path) == text


def test_bounded_text_is_kept_up_to_the_bound() -> None:
    assert truncate_message("x" * 300) == "x" * 300
    assert truncate_message("x" * 301) == "x" * 299 + "…"


def test_every_keyword_of_the_library_has_words_or_needs_none() -> None:
    """A library upgrade with a new kind of error must not leave callers without an explanation."""
    kinds = {name for name in dir(jsonschema_rs.ValidationErrorKind) if name[0].isupper()}
    keywords = {name[0].lower() + name[1:] for name in kinds}
    said = set(MESSAGES) | {"required", "additionalProperties", "constant"}
    renamed = {"oneOfMultipleValid", "oneOfNotValid"}
    never_compiled = {
        *("additionalItems", "contains", "contentEncoding", "contentMediaType", "custom", "format"),
        *("propertyNames", "unevaluatedItems", "unevaluatedProperties", "referencing", "fromUtf8"),
        *("backtrackLimitExceeded", "regexEngineFailure"),
    }
    assert keywords - said - renamed - never_compiled == set()


def test_inputs_come_from_a_parser_that_gives_what_the_validator_reads() -> None:
    value = orjson.loads(b'{"x": 18446744073709551616}')
    assert errors({"properties": {"x": {"type": "integer"}}}, value) == {}
