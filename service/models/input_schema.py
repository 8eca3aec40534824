"""Normalises RunComfy's input schemas to JSON Schema draft 2020-12.

What is not understood is left unchecked, and a remark added: a quirk must not reject a request.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from jsonschema_rs import Draft202012Validator, RegexOptions

from core.deduplication.fingerprint import MAX_DEPTH, Defaults

TYPES: Final[Mapping[str, str]] = {
    "string": "string",
    "str": "string",
    "text": "string",
    "number": "number",
    "float": "number",
    "double": "number",
    "integer": "integer",
    "int": "integer",
    "boolean": "boolean",
    "bool": "boolean",
    "array": "array",
    "list": "array",
    "object": "object",
    "dict": "object",
    "null": "null",
}
ANNOTATION_KEYWORDS: Final = frozenset(
    {"title", "description", "examples", "default", "format", "validations", "nullable"}
    | {"$schema", "$id", "$comment", "deprecated", "readOnly", "writeOnly", "order"}
)
LINEAR_PATTERNS: Final = RegexOptions(size_limit=2**20)
"""An engine whose time is linear in the input, with a bound of a pattern's compiled size.

The other one backtracks: a pattern with a back reference takes seconds for a megabyte.
"""
_DROPPED: Final = object()


class UnusableSchema(ValueError):
    """The schema is not an object, is nested too deeply, or cannot be compiled."""


@dataclass(frozen=True, slots=True)
class NormalisedSchema:
    """A schema of draft 2020-12, and a remark for each part of the original that was dropped."""

    schema: Mapping[str, object]
    remarks: tuple[str, ...]


def normalise_schema(schema: object, *, forbid_unknown_fields: bool = False) -> NormalisedSchema:
    """Return the supported assertions of `schema`; `forbid_unknown_fields` closes its objects.

    Raises `UnusableSchema`.
    """
    if not isinstance(schema, Mapping):
        raise UnusableSchema("the schema is not an object")
    reader = _SchemaNormaliser(forbid_unknown_fields=forbid_unknown_fields)
    read = reader.normalise(schema, "")
    return NormalisedSchema(read if isinstance(read, dict) else {}, tuple(reader.remarks))


def defaults_of(schema: object) -> Defaults:
    """Return the defaults of a normalised schema's optional fields, at every depth.

    The "default" of a required field is a sample on RunComfy's pages, and is never filled in.
    """
    fields = _properties(schema)
    required = _required(schema)
    values = {
        name: inner["default"]
        for name, inner in fields.items()
        if isinstance(inner, Mapping) and "default" in inner and name not in required
    }
    nested = {name: found for name, inner in fields.items() if (found := defaults_of(inner))}
    items = defaults_of(schema.get("items")) if isinstance(schema, Mapping) else None
    return Defaults(values, nested, items or None)


def _properties(schema: object) -> Mapping[str, object]:
    fields = schema.get("properties") if isinstance(schema, Mapping) else None
    return fields if isinstance(fields, Mapping) else {}


def _required(schema: object) -> frozenset[str]:
    names = schema.get("required") if isinstance(schema, Mapping) else None
    return frozenset(names) if isinstance(names, list) else frozenset()


@dataclass(slots=True)
class _SchemaNormaliser:
    """Normalises one schema, and collects the remarks."""

    forbid_unknown_fields: bool
    remarks: list[str] = field(default_factory=list)

    def normalise(self, node: object, path: str) -> object:
        if path.count("/") > MAX_DEPTH:
            raise UnusableSchema(f"the schema is nested deeper than {MAX_DEPTH} levels")
        if isinstance(node, bool):
            return node
        if not isinstance(node, Mapping):
            self._add_remark(path, "is not a schema")
            return {}
        kept = dict(self._assertions(node, path))
        self._drop_unknown_required(kept, path)
        _allow_null(node, kept)
        if self.forbid_unknown_fields and "properties" in kept and not _is_in_combination(path):
            kept.setdefault("additionalProperties", False)
        return kept

    def _assertions(self, node: Mapping[str, object], path: str) -> Iterator[tuple[str, object]]:
        for keyword, value in node.items():
            here = f"{path}/{keyword}"
            if keyword == "default" and value is not None:
                yield keyword, value
            read = _KEYWORD_PARSERS.get(keyword)
            if read is None:
                self._remark_unknown_keyword(keyword, here)
                continue
            got = read(self, value, here)
            if got is _DROPPED:
                self._add_remark(here, "is not of a form that JSON Schema knows")
            else:
                yield keyword, got

    def _remark_unknown_keyword(self, keyword: str, here: str) -> None:
        if keyword not in ANNOTATION_KEYWORDS:
            self._add_remark(here, "is not a keyword that this gateway checks")

    def _drop_unknown_required(self, result: dict[str, object], path: str) -> None:
        names = result.get("required")
        if not isinstance(names, list):
            return
        known = result.get("properties")
        unknown = [name for name in names if name not in (known if isinstance(known, dict) else {})]
        for name in unknown:
            self._add_remark(f"{path}/required", f"names {name!r}, which is not a property")
        result["required"] = [name for name in names if name not in unknown]

    def _add_remark(self, path: str, reason: str) -> None:
        self.remarks.append(f"{path or '/'} {reason}")


def _allow_null(node: Mapping[str, object], result: dict[str, object]) -> None:
    # A default of null means that RunComfy accepts null here, whatever `type` is.
    if node.get("nullable") is not True and not ("default" in node and node["default"] is None):
        return
    kinds = result.get("type")
    if isinstance(kinds, str | list):
        result["type"] = sorted({"null", *([kinds] if isinstance(kinds, str) else kinds)})
    options = result.get("enum")
    if isinstance(options, list) and None not in options:
        result["enum"] = [*options, None]


def _is_in_combination(path: str) -> bool:
    # Closing one branch of a combination would reject the fields of the other branches.
    return not _COMBINATIONS.isdisjoint(path.split("/"))


_COMBINATIONS: Final = frozenset({"allOf", "anyOf", "oneOf", "not"})
_KeywordParser = Callable[[_SchemaNormaliser, object, str], object]


def _parse_type(_: _SchemaNormaliser, value: object, __: str) -> object:
    words = [value] if isinstance(value, str) else value
    if not isinstance(words, list) or not words:
        return _DROPPED
    kinds = [TYPES.get(word) if isinstance(word, str) else None for word in words]
    if None in kinds:
        return _DROPPED
    return kinds[0] if len(kinds) == 1 else list(dict.fromkeys(kinds))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _parse_pattern(_: _SchemaNormaliser, value: object, __: str) -> object:
    if not isinstance(value, str):
        return _DROPPED
    try:
        Draft202012Validator({"pattern": value}, pattern_options=LINEAR_PATTERNS)
    except ValueError:
        return _DROPPED
    return value


def _accept_if(is_valid: Callable[[object], bool]) -> _KeywordParser:
    return lambda _, value, __: value if is_valid(value) else _DROPPED


def _parse_count(_: _SchemaNormaliser, value: object, __: str) -> object:
    return value if isinstance(value, int) and _is_number(value) and value >= 0 else _DROPPED


def _parse_multiple_of(_: _SchemaNormaliser, value: object, __: str) -> object:
    above_zero = isinstance(value, int | float) and _is_number(value) and value > 0
    return value if above_zero else _DROPPED


def _parse_names(_: _SchemaNormaliser, value: object, __: str) -> object:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        return _DROPPED
    return list(dict.fromkeys(value))


def _parse_schema(reader: _SchemaNormaliser, value: object, path: str) -> object:
    return reader.normalise(value, path) if isinstance(value, Mapping | bool) else _DROPPED


def _parse_schema_list(reader: _SchemaNormaliser, value: object, path: str) -> object:
    if not isinstance(value, list) or not value:
        return _DROPPED
    return [reader.normalise(inner, f"{path}/{index}") for index, inner in enumerate(value)]


def _parse_schema_map(reader: _SchemaNormaliser, value: object, path: str) -> object:
    if not isinstance(value, Mapping):
        return _DROPPED
    return {name: reader.normalise(inner, f"{path}/{name}") for name, inner in value.items()}


_NUMBER: Final = _accept_if(_is_number)
# The supported keywords, with the parser of each.
_KEYWORD_PARSERS: Final[Mapping[str, _KeywordParser]] = {
    "type": _parse_type,
    "enum": _accept_if(lambda value: isinstance(value, list) and bool(value)),
    "const": _accept_if(lambda _: True),
    "minimum": _NUMBER,
    "maximum": _NUMBER,
    "exclusiveMinimum": _NUMBER,
    "exclusiveMaximum": _NUMBER,
    "multipleOf": _parse_multiple_of,
    "minLength": _parse_count,
    "maxLength": _parse_count,
    "pattern": _parse_pattern,
    "minItems": _parse_count,
    "maxItems": _parse_count,
    "uniqueItems": _accept_if(lambda value: isinstance(value, bool)),
    "minProperties": _parse_count,
    "maxProperties": _parse_count,
    "required": _parse_names,
    "properties": _parse_schema_map,
    "items": _parse_schema,
    "additionalProperties": _parse_schema,
    "allOf": _parse_schema_list,
    "anyOf": _parse_schema_list,
    "oneOf": _parse_schema_list,
    "not": _parse_schema,
    # Only references within the schema: a validator must not open connections.
    "$ref": _accept_if(lambda value: isinstance(value, str) and value.startswith("#/")),
    "$defs": _parse_schema_map,
    "definitions": _parse_schema_map,
}
