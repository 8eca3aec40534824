"""Validates a model's input by RunComfy's published schemas: top-level fields only.

A ``required`` name that is not a property is ignored; such names occur in real schemas.
"""

from collections.abc import Iterator
from typing import Any

from simulator.script import Json

_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "float": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
}


def validate_input(payload: Json, schema: Json) -> list[Json]:
    """Return one entry per error, as in the ``detail`` of a 422; empty if there is none."""
    properties: Json = schema["properties"]
    missing = [
        _validation_error(name, "missing", "Field required")
        for name in schema.get("required", ())
        if name in properties and payload.get(name) is None
    ]
    present = (name for name in properties if payload.get(name) is not None)
    return missing + [
        fault for name in present for fault in _field_errors(name, payload[name], properties[name])
    ]


def _field_errors(name: str, value: object, schema: Json) -> Iterator[Json]:
    kind = schema.get("type", "")
    if not _has_type(value, kind):
        yield _validation_error(name, f"{kind}_type", f"Input should be a valid {kind}")
        return
    if "enum" in schema and value not in schema["enum"]:
        allowed = ", ".join(map(repr, schema["enum"]))
        yield _validation_error(name, "enum", f"Input should be one of {allowed}")
    yield from _bound_errors(name, value, schema)


def _bound_errors(name: str, value: Any, schema: Json) -> Iterator[Json]:  # noqa: ANN401 - JSON
    size, low, high = value, "minimum", "maximum"
    if isinstance(value, list):
        size, low, high = len(value), "minItems", "maxItems"
    if low in schema and size < schema[low]:
        yield _validation_error(name, "too_small", f"Should be at least {schema[low]}")
    if high in schema and size > schema[high]:
        yield _validation_error(name, "too_large", f"Should be at most {schema[high]}")


def _has_type(value: object, kind: str) -> bool:
    if isinstance(value, bool):
        return kind in {"boolean", ""}
    return kind not in _TYPES or isinstance(value, _TYPES[kind])


def _validation_error(name: str, kind: str, message: str) -> Json:
    return {"loc": ["body", name], "msg": message, "type": kind}
