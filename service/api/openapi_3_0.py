"""The API's description in OpenAPI 3.0, for tools that do not read 3.1.

Its schemas are older than JSON Schema 2020-12: no type lists, no null type, no `const`, no
keywords beside `$ref`. What 3.0 cannot express is left out, so that a schema accepts more, never
less.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

VERSION: Final = "3.0.3"
_NULL: Final = "null"
_MISSING_IN_3_0: Final = frozenset(
    {"const", "examples", "if", "then", "else", "patternProperties", "propertyNames"}
)
_Schema = dict[str, Any]


def to_openapi_3_0(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return `document`, an OpenAPI 3.1 description, as 3.0: without its `webhooks`."""
    kept = {name: part for name, part in document.items() if name != "webhooks"}
    schemas = _convert_named(document["components"]["schemas"])
    components = {**document["components"], "schemas": schemas}
    return {
        **_convert_part(kept),
        "openapi": VERSION,
        "components": components,
    }


def _convert_part(part: Any) -> Any:  # noqa: ANN401 - any JSON
    """Return a part of the document that is no schema, with the schemas in it converted."""
    if isinstance(part, list):
        return [_convert_part(one) for one in part]
    if not isinstance(part, dict):
        return part
    return {
        name: _convert_schema(one) if name == "schema" else _convert_part(one)
        for name, one in part.items()
    }


def _convert_schema(schema: Any) -> Any:  # noqa: ANN401 - a boolean is a schema too
    if not isinstance(schema, dict):
        return schema
    kept = {name: value for name, value in schema.items() if name not in _MISSING_IN_3_0}
    converted = {**_convert_children(kept), **_replaced_keywords(schema)}
    for step in (_split_types, _merge_null, _wrap_reference):
        converted = step(converted)
    return converted


def _convert_children(schema: _Schema) -> _Schema:
    return {
        name: _CHILDREN[name](value) if name in _CHILDREN else value
        for name, value in schema.items()
    }


def _convert_named(schemas: Mapping[str, Any]) -> _Schema:
    return {name: _convert_schema(schema) for name, schema in schemas.items()}


def _convert_each(schemas: Iterable[Any]) -> list[Any]:
    return [_convert_schema(schema) for schema in schemas]


_CHILDREN: Final[Mapping[str, Callable[[Any], Any]]] = {
    "properties": _convert_named,
    "additionalProperties": _convert_schema,
    "items": _convert_schema,
    "not": _convert_schema,
    "allOf": _convert_each,
    "anyOf": _convert_each,
    "oneOf": _convert_each,
}


def _replaced_keywords(schema: Mapping[str, Any]) -> _Schema:
    """Return the words of 3.0 for keywords that it lacks."""
    replaced: _Schema = {}
    if "const" in schema:
        replaced["enum"] = [schema["const"]]
    if schema.get("examples"):
        replaced["example"] = schema["examples"][0]
    if "patternProperties" in schema:
        values = _convert_each(schema["patternProperties"].values())
        replaced["additionalProperties"] = values[0] if len(values) == 1 else {"anyOf": values}
    return replaced


def _split_types(schema: _Schema) -> _Schema:
    """Replace a list of types with `nullable`, and one schema for each type that is left."""
    types = schema.get("type")
    if not isinstance(types, list):
        return schema
    kept = [name for name in types if name != _NULL]
    nullable = {"nullable": True} if _NULL in types else {}
    if len(kept) == 1:
        return {**schema, "type": kept[0], **nullable}
    rest = {name: value for name, value in schema.items() if name != "type"}
    return {**rest, "anyOf": [{"type": name} for name in kept], **nullable}


def _merge_null(schema: _Schema) -> _Schema:
    """Replace a choice of which one is null with `nullable`."""
    for word in ("anyOf", "oneOf"):
        choices = schema.get(word, [])
        kept = [choice for choice in choices if choice.get("type") != _NULL]
        if len(kept) == len(choices):
            continue
        rest = {name: value for name, value in schema.items() if name != word}
        if len(kept) == 1:
            return _wrap_reference({**kept[0], **rest, "nullable": True})
        return {**rest, word: kept, "nullable": True}
    return schema


def _wrap_reference(schema: _Schema) -> _Schema:
    """Move a `$ref` away from other keywords, which 3.0 ignores beside it."""
    if "$ref" not in schema or len(schema) == 1:
        return schema
    rest = {name: value for name, value in schema.items() if name != "$ref"}
    return {**rest, "allOf": [{"$ref": schema["$ref"]}]}
