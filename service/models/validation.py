"""Whether an input fits a schema, and what to tell the caller if not. Knows no model.

Messages never repeat a value of the input, and errors are few however many there are.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice
from typing import Final

import orjson
from jsonschema_rs import Draft202012Validator, ValidationError

from core.errors import FieldError
from service.models.input_schema import Normalised, normalised

MOST_ERRORS: Final = 20
_MESSAGE_CHARS: Final = 300
_NAME_CHARS: Final = 100
_MOST_LISTED: Final = 20
# The library gathers every error before it gives the first: a body of a million wrong items would
# hold the process for seconds. Beyond this many values only the first error is looked for.
_MOST_VALUES: Final = 2_000

# The text of an error by the keyword that it breaks; in braces what the library says of it.
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


class UncompilableSchema(ValueError):
    """The schema cannot be made into a validator."""


@dataclass(frozen=True, slots=True)
class InputValidator:
    """A schema, compiled once; a check of a usual input takes about a microsecond."""

    schema: Mapping[str, object]
    compiled: Draft202012Validator

    def errors(self, value: object) -> tuple[FieldError, ...]:
        """What is wrong with `value`: nothing, or at most `MOST_ERRORS` errors."""
        if self.compiled.is_valid(value):
            return ()
        found = self._first(value) if _is_large(value) else self.compiled.iter_errors(value)
        told = (told for error in found for told in self._told(error))
        return tuple(islice(told, MOST_ERRORS))

    def _first(self, value: object) -> Iterator[ValidationError]:
        try:
            self.compiled.validate(value)
        except ValidationError as error:
            yield error

    def _told(self, error: ValidationError) -> Iterator[FieldError]:
        facts = error.kind.as_dict() if error.kind.name in _FACTS_WANTED else {}
        if error.kind.name == "required":
            yield FieldError(pointer([*error.instance_path, facts["property"]]), "is required")
        elif error.kind.name == "additionalProperties":
            known = self._fields_at(error.schema_path[:-1])
            for name in islice(facts["unexpected"], MOST_ERRORS):
                yield FieldError(pointer([*error.instance_path, name]), _unknown(name, known))
        else:
            shown = {name: _listed(fact) for name, fact in facts.items()}
            text = MESSAGES.get(error.kind.name, "does not fit the schema").format_map(shown)
            yield FieldError(pointer(error.instance_path), bounded(text))

    def _fields_at(self, path: Sequence[str | int]) -> list[str]:
        node: object = self.schema
        for step in path:
            node = node.get(str(step)) if isinstance(node, Mapping) else None
        fields = node.get("properties") if isinstance(node, Mapping) else None
        return list(fields) if isinstance(fields, Mapping) else []


# Asking for the facts of a combination would build the errors of every branch.
_FACTS_WANTED: Final = frozenset(MESSAGES) - {"anyOf", "oneOf", "not"} | {
    "required",
    "additionalProperties",
}


def compiled(schema: object, *, closed: bool = False) -> tuple[InputValidator, Normalised]:
    """A validator of a schema as RunComfy writes it, and what was left out of it.

    A field whose own default does not fit it is not checked: RunComfy itself contradicts the
    schema there. Raises `UnreadableSchema` or `UncompilableSchema`.
    """
    read = normalised(schema, closed=closed)
    validator = InputValidator(read.schema, _compile(read.schema))
    wrong = _contradicted(validator)
    if not wrong:
        return validator, read
    relaxed = _without_checks(read.schema, wrong)
    remarks = tuple(f"/properties/{name} does not fit its own default" for name in sorted(wrong))
    read = Normalised(relaxed, (*read.remarks, *remarks))
    return InputValidator(relaxed, _compile(relaxed)), read


def _compile(schema: Mapping[str, object]) -> Draft202012Validator:
    try:
        return Draft202012Validator(dict(schema), offline=True)
    except (ValueError, RecursionError) as error:
        raise UncompilableSchema(bounded(str(error).split("\n", 1)[0])) from error


def _contradicted(validator: InputValidator) -> set[str]:
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


def pointer(path: Sequence[str | int]) -> str:
    """The JSON Pointer (RFC 6901) of `path`; names that nobody would read to the end are cut."""
    return "".join(f"/{_escaped(str(step))}" for step in path)


def _escaped(step: str) -> str:
    return _cut(step, _NAME_CHARS).replace("~", "~0").replace("/", "~1")


def bounded(text: str) -> str:
    """`text`, cut to the length of a message."""
    return _cut(text, _MESSAGE_CHARS)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _unknown(name: str, known: list[str]) -> str:
    near = get_close_matches(name, known, n=1) if len(name) <= _NAME_CHARS else []
    return (
        f"is not a field of this model; did you mean {near[0]}?"
        if near
        else ("is not a field of this model")
    )


def _listed(fact: object) -> str:
    if isinstance(fact, list):
        shown = [*map(_listed, fact[:_MOST_LISTED]), *(["…"] if len(fact) > _MOST_LISTED else [])]
        return ", ".join(shown)
    return fact if isinstance(fact, str) else orjson.dumps(fact, default=str).decode()


def _is_large(value: object) -> bool:
    waiting, seen = [value], 0
    while waiting and seen <= _MOST_VALUES:
        item = waiting.pop()
        seen += 1
        inner = item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()
        waiting.extend(islice(inner, _MOST_VALUES))
    return seen > _MOST_VALUES
