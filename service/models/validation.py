"""Validates inputs against JSON Schema, with error messages for callers.

Messages never contain a value of the input, and their number is bounded.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import chain, islice
from typing import Final

import orjson
from jsonschema_rs import Draft202012Validator, ValidationError

from core.errors import FieldError
from service.models.alternatives import (
    failed_alternatives,
    is_too_large,
    without_alternatives,
)
from service.models.input_schema import (
    LINEAR_PATTERNS,
    NormalisedSchema,
    UnusableSchema,
    normalise_schema,
)

MAX_ERRORS: Final = 20
_MAX_MESSAGE_LENGTH: Final = 300
_MAX_NAME_LENGTH: Final = 100
_MAX_LISTED: Final = 20
# The library collects all errors before it yields the first: a body with a million invalid items
# would block the process for seconds. Of larger inputs only the first error is computed.
_MAX_VALUES: Final = 2_000

_CONTAINERS: Final = (dict, list)
_KEYWORDS_WITH_FIELDS: Final = frozenset({"properties", "items"})

# Error messages by schema keyword; in braces the details that the library gives.
MESSAGES: Final[Mapping[str, str]] = {
    "type": "must be of type {types}",
    "enum": "must be one of {options}",
    "const": "must be {expected_value}",
    "minimum": "must be at least {limit}",
    "maximum": "must be at most {limit}",
    "exclusiveMinimum": "must be greater than {limit}",
    "exclusiveMaximum": "must be less than {limit}",
    "multipleOf": "must be a multiple of {multiple_of}",
    "minLength": "must have at least {limit} characters",
    "maxLength": "must have at most {limit} characters",
    "pattern": "must match the pattern {pattern}",
    "minItems": "must have at least {limit} items",
    "maxItems": "must have at most {limit} items",
    "uniqueItems": "must not hold the same item twice",
    "minProperties": "must have at least {limit} fields",
    "maxProperties": "must have at most {limit} fields",
    "anyOf": "fits none of the forms that are allowed here",
    "oneOf": "must fit exactly one of the forms that are allowed here",
    "not": "has a form that is not allowed here",
    "falseSchema": "is not allowed here",
}


@dataclass(frozen=True, slots=True)
class InputValidator:
    """A schema, compiled once: checking a typical input takes about a microsecond.

    `empty_fields` are optional fields in which '' stands for nothing.
    """

    schema: Mapping[str, object]
    compiled: Draft202012Validator
    plain: Draft202012Validator
    """The schema without alternatives: their errors cannot be named within bounds."""
    empty_fields: frozenset[str] = frozenset()

    def errors(self, value: object) -> tuple[FieldError, ...]:
        """Return the errors of `value`, at most `MAX_ERRORS`. null in an optional field is none."""
        if self.compiled.is_valid(value):
            return ()
        value = _without_absent(value, self.schema, self.empty_fields)
        if self.compiled.is_valid(value):
            return ()
        found = self._first_error(value) if _is_large(value) else self.plain.iter_errors(value)
        errors = (field for error in found for field in self._field_errors(error))
        named = tuple(islice(chain(errors, self._alternative_errors(value)), MAX_ERRORS))
        return named or (FieldError("", "does not fit the schema"),)

    def _alternative_errors(self, value: object) -> Iterator[FieldError]:
        failed = failed_alternatives(
            self.schema, value, lambda one: _compile_validator(one).is_valid
        )
        for path, keyword in failed:
            yield FieldError(json_pointer(path), MESSAGES[keyword])

    def _first_error(self, value: object) -> Iterator[ValidationError]:
        try:
            self.plain.validate(value)
        except ValidationError as error:
            yield error

    def _field_errors(self, error: ValidationError) -> Iterator[FieldError]:
        details = error.kind.as_dict() if error.kind.name in _DETAILED_KEYWORDS else {}
        if error.kind.name == "required":
            yield FieldError(
                json_pointer([*error.instance_path, details["property"]]), "is required"
            )
        elif error.kind.name == "additionalProperties":
            known = self._fields_at(error.schema_path[:-1])
            for name in islice(details["unexpected"], MAX_ERRORS):
                yield FieldError(
                    json_pointer([*error.instance_path, name]), _unknown_field(name, known)
                )
        else:
            formatted = {name: _format_detail(detail) for name, detail in details.items()}
            text = MESSAGES.get(error.kind.name, "does not fit the schema").format_map(formatted)
            yield FieldError(json_pointer(error.instance_path), truncate_message(text))

    def _fields_at(self, path: Sequence[str | int]) -> list[str]:
        node: object = self.schema
        for step in path:
            node = node.get(str(step)) if isinstance(node, Mapping) else None
        fields = node.get("properties") if isinstance(node, Mapping) else None
        return list(fields) if isinstance(fields, Mapping) else []


def _without_absent(
    value: object, schema: object, empty_fields: frozenset[str] = frozenset()
) -> object:
    """Return `value` without null in optional fields: RunComfy reads it as if it were absent.

    `value` is of bounded depth. Combinations of schemas are not searched for fields.
    """
    if not isinstance(value, _CONTAINERS) or not isinstance(schema, Mapping):
        return value
    if isinstance(value, list):
        return _items_without_absent(value, schema.get("items"))
    fields, required = schema.get("properties"), schema.get("required")
    if not isinstance(fields, Mapping):
        return value
    optional = fields.keys() - set(required if isinstance(required, list) else ())
    return {
        name: _without_absent(item, fields[name]) if name in fields else item
        for name, item in value.items()
        if name not in optional or not (item is None or (item == "" and name in empty_fields))
    }


def _items_without_absent(items: list[object], schema: object) -> list[object]:
    if not isinstance(schema, Mapping) or not _KEYWORDS_WITH_FIELDS & schema.keys():
        return items
    return [
        _without_absent(item, schema) if isinstance(item, _CONTAINERS) else item for item in items
    ]


# The details of a combination would hold the errors of every branch.
_DETAILED_KEYWORDS: Final = frozenset(MESSAGES) - {"anyOf", "oneOf", "not"} | {
    "required",
    "additionalProperties",
}


def compile_schema(
    schema: object, *, forbid_unknown_fields: bool = False
) -> tuple[InputValidator, NormalisedSchema]:
    """Compile one of RunComfy's schemas. Returns the validator and the normalised schema.

    A field with an invalid default is not checked: there RunComfy contradicts its schema.
    Raises `UnusableSchema`.
    """
    read = normalise_schema(schema, forbid_unknown_fields=forbid_unknown_fields)
    validator = _build_validator(read.schema)
    wrong = _fields_contradicting_default(validator)
    if not wrong:
        return validator, read
    relaxed = _without_checks(read.schema, wrong)
    remarks = tuple(f"/properties/{name} does not fit its own default" for name in sorted(wrong))
    read = NormalisedSchema(relaxed, (*read.remarks, *remarks))
    return _build_validator(relaxed), read


def _build_validator(schema: Mapping[str, object]) -> InputValidator:
    if is_too_large(schema):
        raise UnusableSchema("the schema refers to itself, or has too many alternatives")
    plain = without_alternatives(schema)
    return InputValidator(
        schema,
        _compile_validator(schema),
        _compile_validator(plain if isinstance(plain, Mapping) else {}),
    )


def _compile_validator(schema: Mapping[str, object]) -> Draft202012Validator:
    try:
        return Draft202012Validator(dict(schema), offline=True, pattern_options=LINEAR_PATTERNS)
    except (ValueError, RecursionError) as error:
        raise UnusableSchema(truncate_message(str(error).split("\n", 1)[0])) from error


def _fields_contradicting_default(validator: InputValidator) -> set[str]:
    fields = validator.schema.get("properties")
    samples = {
        name: inner["default"]
        for name, inner in (fields.items() if isinstance(fields, Mapping) else ())
        if isinstance(inner, Mapping) and "default" in inner
    }
    errors = validator.compiled.iter_errors(samples)
    return {str(error.instance_path[0]) for error in errors if error.instance_path}


def _without_checks(schema: Mapping[str, object], names: set[str]) -> dict[str, object]:
    fields = schema["properties"]
    if not isinstance(fields, Mapping):
        return dict(schema)
    loose = {name: {"default": fields[name]["default"]} for name in names}
    return {**schema, "properties": {**fields, **loose}}


def json_pointer(path: Sequence[str | int]) -> str:
    """Return the JSON Pointer (RFC 6901) of `path`; very long names are truncated."""
    return "".join(f"/{_escape(str(step))}" for step in path)


def _escape(step: str) -> str:
    return _truncate(step, _MAX_NAME_LENGTH).replace("~", "~0").replace("/", "~1")


def truncate_message(text: str) -> str:
    """Return `text`, truncated to the maximum length of a message."""
    return _truncate(text, _MAX_MESSAGE_LENGTH)


def _truncate(text: str, max_length: int) -> str:
    return text if len(text) <= max_length else f"{text[: max_length - 1]}…"


def _unknown_field(name: str, known: list[str]) -> str:
    near = get_close_matches(name, known, n=1) if len(name) <= _MAX_NAME_LENGTH else []
    return (
        f"is not a field of this model; did you mean {near[0]}?"
        if near
        else ("is not a field of this model")
    )


def _format_detail(detail: object) -> str:
    if isinstance(detail, list):
        formatted = [
            *map(_format_detail, detail[:_MAX_LISTED]),
            *(["…"] if len(detail) > _MAX_LISTED else []),
        ]
        return ", ".join(formatted)
    return detail if isinstance(detail, str) else orjson.dumps(detail, default=str).decode()


def _is_large(value: object) -> bool:
    waiting, seen = [value], 0
    while waiting and seen <= _MAX_VALUES:
        item = waiting.pop()
        seen += 1
        inner = item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()
        waiting.extend(islice(inner, _MAX_VALUES))
    return seen > _MAX_VALUES
