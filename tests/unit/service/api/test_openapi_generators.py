"""The OpenAPI document in forms that generators of clients can read.

Each rule here was a client that did not compile, lost operations or raised at a valid answer.
"""

import re
from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any, Final

import jsonschema_rs
import pytest

from service.api.openapi_3_0 import to_openapi_3_0
from service.api.openapi_document import openapi_document
from service.app import create_app
from tests.support.app import open_app

JSON_TYPES: Final = {"array", "boolean", "integer", "number", "object", "string"}
# https://spec.openapis.org/oas/v3.0.3#schema-object
KEYWORDS_OF_3_0: Final = {
    "$ref",
    "additionalProperties",
    "allOf",
    "anyOf",
    "default",
    "description",
    "discriminator",
    "enum",
    "example",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "format",
    "items",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "multipleOf",
    "not",
    "nullable",
    "oneOf",
    "pattern",
    "properties",
    "readOnly",
    "required",
    "title",
    "type",
    "uniqueItems",
    "writeOnly",
}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """The document of all routes; tests must not change it."""
    return openapi_document(create_app(open_app()._open).routes)


@pytest.fixture(scope="module", params=["3.1", "3.0"])
def either(request: pytest.FixtureRequest, document: dict[str, Any]) -> dict[str, Any]:
    """The document in each version of OpenAPI."""
    return document if request.param == "3.1" else to_openapi_3_0(document)


def every_schema(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Every schema of operations and components, those inside of others included."""
    for schema in document["components"]["schemas"].values():
        yield from with_parts(schema)
    for schema in schemas_of_operations(document["paths"]):
        yield from with_parts(schema)


def schemas_of_operations(part: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401 - any JSON
    if isinstance(part, list):
        for one in part:
            yield from schemas_of_operations(one)
    elif isinstance(part, dict):
        for name, one in part.items():
            if name == "schema":
                yield one
            elif name not in {"example", "examples"}:
                yield from schemas_of_operations(one)


def with_parts(schema: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401 - a boolean is a schema
    if not isinstance(schema, dict):
        return
    yield schema
    named = [schema.get("properties", {}), schema.get("patternProperties", {})]
    parts = [*(one for group in named for one in group.values())]
    parts += [schema[word] for word in ("items", "additionalProperties", "not") if word in schema]
    for word in ("allOf", "anyOf", "oneOf"):
        parts += schema.get(word, [])
    for part in parts:
        yield from with_parts(part)


def operations(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [operation for path in document["paths"].values() for operation in path.values()]


def test_every_operation_has_one_tag_and_an_id_of_its_own(document: dict[str, Any]) -> None:
    ids = [re.sub(r"\W|_", "", one["operationId"]).lower() for one in operations(document)]
    assert len(set(ids)) == len(ids)
    assert all(len(one["tags"]) == 1 for one in operations(document))


def test_tags_differ_in_more_than_punctuation(document: dict[str, Any]) -> None:
    # A generator writes one file for each: of two with the same name the second wins.
    tags = {one["tags"][0] for one in operations(document)}
    assert len({re.sub(r"\W", "", tag).lower() for tag in tags}) == len(tags)


def test_names_of_schemas_are_names_of_classes(document: dict[str, Any]) -> None:
    names = list(document["components"]["schemas"])
    assert [name for name in names if not re.fullmatch(r"[A-Z][A-Za-z0-9]*", name)] == []
    assert len({name.lower() for name in names}) == len(names)


def test_no_schema_is_named_as_what_a_generator_adds(document: dict[str, Any]) -> None:
    # Go: the constructor of `Batch` is `NewBatch`. TypeScript: `submit` takes a `SubmitRequest`.
    names = set(document["components"]["schemas"])
    added = {f"New{name}" for name in names} | {f"Nullable{name}" for name in names}
    added |= {
        "".join(word.capitalize() for word in one["operationId"].split("_")) + "Request"
        for one in operations(document)
    }
    assert names & added == set()


def test_an_object_says_which_fields_it_has(either: dict[str, Any]) -> None:
    # Of an object that says nothing TypeScript makes one that may have no field at all.
    fields = {"properties", "additionalProperties", "patternProperties", "allOf", "anyOf"}
    objects = [one for one in every_schema(either) if one.get("type") == "object"]
    assert [one for one in objects if not fields & one.keys()] == []


def test_a_value_of_several_types_has_no_default(document: dict[str, Any]) -> None:
    several = [one for one in every_schema(document) if isinstance(one.get("type"), list)]
    assert [one for one in several if "default" in one] == []


def test_each_of_several_answers_has_a_name(either: dict[str, Any]) -> None:
    for schema in every_schema(either):
        choices = [*schema.get("anyOf", []), *schema.get("oneOf", [])]
        assert [one for one in choices if "allOf" in one or "properties" in one] == []


def test_a_submit_has_one_type_whose_first_fitting_part_is_right(document: dict[str, Any]) -> None:
    # A generator that makes one type for each call takes that of 200, also for an answer of 202.
    answers = document["paths"]["/v1/models/{model_id}"]["post"]["responses"]
    contents = [answers[status]["content"]["application/json"] for status in ("200", "202")]
    assert contents[0]["schema"] == contents[1]["schema"]
    shown = {name: one["value"] for found in contents for name, one in found["examples"].items()}
    parts = document["components"]["schemas"]["SubmitAnswer"]["anyOf"]
    judges = {
        part["$ref"].rpartition("/")[2]: jsonschema_rs.validator_for(
            {**part, "components": document["components"]}
        )
        for part in parts
    }
    assert set(shown) == set(judges)
    for name, value in shown.items():
        assert next(part for part, judge in judges.items() if judge.is_valid(value)) == name


def test_no_idempotency_key_is_filled_in(either: dict[str, Any]) -> None:
    # An API console would send it with each try: the second, with another input, would be 422.
    for operation in operations(either):
        for parameter in operation.get("parameters", []):
            if parameter["name"] == "Idempotency-Key":
                filled = {"example", "examples", "default"}
                assert not filled & (parameter.keys() | parameter["schema"].keys())


def test_every_event_has_a_type_of_its_own(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    mapping = schemas["WebhookPayload"]["discriminator"]["mapping"]
    assert set(mapping) == set(document["webhooks"])
    for event, operation in document["webhooks"].items():
        content = operation["post"]["requestBody"]["content"]["application/json"]
        assert content["schema"]["$ref"] == mapping[event]
        judge = jsonschema_rs.validator_for(
            {"$ref": "#/components/schemas/WebhookPayload", "components": document["components"]}
        )
        judge.validate(content["example"])


# --- OpenAPI 3.0


def test_3_0_uses_only_its_own_keywords(document: dict[str, Any]) -> None:
    older = to_openapi_3_0(document)
    assert older["openapi"].startswith("3.0.")
    assert "webhooks" not in older
    for schema in every_schema(older):
        assert schema.keys() <= KEYWORDS_OF_3_0
        assert schema.get("type", "object") in JSON_TYPES
        assert "$ref" not in schema or schema.keys() == {"$ref"}
        # In 3.0 a flag beside `minimum`, later a number.
        assert isinstance(schema.get("exclusiveMinimum", False), bool)


@pytest.mark.parametrize(
    ("newer", "older"),
    [
        ({"type": ["number", "null"]}, {"type": "number", "nullable": True}),
        (
            {"type": ["number", "string"], "title": "A"},
            {"title": "A", "anyOf": [{"type": "number"}, {"type": "string"}]},
        ),
        ({"const": "USD", "type": "string"}, {"enum": ["USD"], "type": "string"}),
        (
            {"anyOf": [{"type": "integer"}, {"type": "null"}], "title": "A"},
            {"type": "integer", "title": "A", "nullable": True},
        ),
        (
            {"anyOf": [{"$ref": "#/a"}, {"type": "null"}]},
            {"nullable": True, "allOf": [{"$ref": "#/a"}]},
        ),
        (
            {"anyOf": [{"type": "integer"}, {"type": "string"}, {"type": "null"}]},
            {"anyOf": [{"type": "integer"}, {"type": "string"}], "nullable": True},
        ),
        ({"$ref": "#/a", "default": 1}, {"default": 1, "allOf": [{"$ref": "#/a"}]}),
        ({"$ref": "#/a"}, {"$ref": "#/a"}),
        ({"examples": ["a", "b"]}, {"example": "a"}),
        (
            {"type": "object", "patternProperties": {"^a": {"const": 1}}},
            {"type": "object", "additionalProperties": {"enum": [1]}},
        ),
        (
            {"properties": {"const": {"type": ["string", "null"]}}, "if": {}, "then": {}},
            {"properties": {"const": {"type": "string", "nullable": True}}},
        ),
        ({"items": {"const": 1}}, {"items": {"enum": [1]}}),
        ({"additionalProperties": False}, {"additionalProperties": False}),
    ],
)
def test_what_3_0_says_in_other_words(newer: dict[str, Any], older: dict[str, Any]) -> None:
    document = {"openapi": "3.1.0", "paths": {}, "components": {"schemas": {"A": newer}}}
    assert to_openapi_3_0(document)["components"]["schemas"]["A"] == older


VERSIONS: Final = {None: "3.1.0", "3.1": "3.1.0", "3.0": "3.0.3"}


@pytest.mark.parametrize(("version", "with_webhooks"), [*product(VERSIONS, [None, False, True])])
async def test_the_query_selects_the_form(version: str | None, with_webhooks: bool | None) -> None:  # noqa: FBT001 - a parameter
    options = {"version": version, "webhooks": with_webhooks}
    query = {name: str(value) for name, value in options.items() if value is not None}
    async with open_app().client() as browser:
        described = (await browser.get("/openapi.json", params=query)).json()
    assert described["openapi"] == VERSIONS[version]
    assert ("webhooks" in described) is (with_webhooks is True and version != "3.0")


@pytest.mark.parametrize(
    "query", ["version=2.0", "version=3", "webhook=true", "version=3.0&version=3.1"]
)
async def test_an_unknown_form_is_refused(query: str) -> None:
    async with open_app().client() as browser:
        refused = await browser.get(f"/openapi.json?{query}")
    assert refused.status_code == 400
    assert refused.json()["code"] == "malformed_request"
