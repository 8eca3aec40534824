"""Forms made from JSON Schema, and the values that they send. Pure.

A model's input and a tenant's settings are such forms. What a form cannot show, it shows as JSON.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from math import isfinite
from typing import Any, Final

import orjson

JsonObject = Mapping[str, Any]
Fields = Mapping[str, Sequence[str]]
"""The values of each field of a form."""
PREFIX: Final = "in."
"""Before the names of the fields of an input, so that they cannot be those of the form itself."""
MAX_ROWS: Final = 20
_LONG_TEXTS: Final = ("prompt", "text", "lyrics", "description")
_MEDIA_FORMATS: Final = {"image_uri": "image", "video_uri": "video", "audio_uri": "audio"}
_NUMBERS: Final = frozenset({"integer", "number", "float"})


class WidgetKind(StrEnum):
    """How a field of a schema is shown."""

    CHOICE = "choice"
    SLIDER = "slider"
    NUMBER = "number"
    SWITCH = "switch"
    MEDIA = "media"
    LONG_TEXT = "long_text"
    TEXT = "text"
    ROWS = "rows"
    LIST = "list"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class Widget:
    """One field of a form. `rows` are the widgets of each row of a list of objects."""

    kind: WidgetKind
    name: str
    label: str
    help: str = ""
    value: Any = None
    required: bool = False
    options: Sequence[Any] = ()
    minimum: float | None = None
    maximum: float | None = None
    step: str = "any"
    media: str = ""
    rows: Sequence[Sequence["Widget"]] = ()
    sum_of: str = ""
    """Of `rows`: the field whose sum over the rows counts."""


def _is_of(*kinds: str) -> Callable[[str, JsonObject], bool]:
    return lambda _, part: set(_types(part)) - {"null"} <= set(kinds) and "type" in part


def _is_list_of(kind: str) -> Callable[[str, JsonObject], bool]:
    return lambda _, part: (
        part.get("type") == "array"
        and isinstance(part.get("items"), Mapping)
        and part["items"].get("type") == kind
    )


_KINDS: Final[tuple[tuple[WidgetKind, Callable[[str, JsonObject], bool]], ...]] = (
    (WidgetKind.CHOICE, lambda _, part: bool(part.get("enum"))),
    (
        WidgetKind.SLIDER,
        lambda name, part: _is_of(*_NUMBERS)(name, part) and {"minimum", "maximum"} <= part.keys(),
    ),
    (WidgetKind.NUMBER, _is_of(*_NUMBERS)),
    (WidgetKind.SWITCH, _is_of("boolean")),
    (WidgetKind.MEDIA, lambda _, part: str(part.get("format")) in _MEDIA_FORMATS),
    (
        WidgetKind.LONG_TEXT,
        lambda name, part: _is_of("string")(name, part) and any(w in name for w in _LONG_TEXTS),
    ),
    (WidgetKind.TEXT, _is_of("string")),
    (WidgetKind.ROWS, _is_list_of("object")),
    (WidgetKind.LIST, _is_list_of("string")),
)
"""The first that fits a field of a schema; JSON fits any."""


def _kind(name: str, part: JsonObject) -> WidgetKind:
    return next((kind for kind, fits in _KINDS if fits(name, part)), WidgetKind.JSON)


def widgets(schema: JsonObject, values: JsonObject, prefix: str = PREFIX) -> list[Widget]:
    """Return the widgets of an object's schema, filled with `values` or the defaults."""
    required = set(schema.get("required", ()))
    return [
        replace(
            _widget(f"{prefix}{name}", name, part, values.get(name, part.get("default"))),
            required=name in required,
        )
        for name, part in schema.get("properties", {}).items()
    ]


def filled(schema: JsonObject, values: JsonObject) -> dict[str, Any]:
    """Return the input that the widgets show: `values`, and the defaults of what they lack."""
    properties = schema.get("properties", {}).items()
    defaults = {name: part["default"] for name, part in properties if part.get("default")}
    return {**defaults, **values}


def _widget(path: str, name: str, part: JsonObject, value: Any) -> Widget:  # noqa: ANN401 - any JSON
    label = part.get("title") or name.replace("_", " ").capitalize()
    kind = _kind(name, part)
    if kind is WidgetKind.ROWS and isinstance(value, list) and len(value) > MAX_ROWS:
        kind = WidgetKind.JSON  # none is left out: the form is sent again, and paid for
    plain = Widget(kind, path, label, part.get("description", ""), value)
    match plain.kind:
        case WidgetKind.CHOICE:
            made = replace(plain, options=part["enum"])
        case WidgetKind.NUMBER | WidgetKind.SLIDER:
            made = _number_widget(plain, part)
        case WidgetKind.MEDIA:
            made = replace(plain, media=_MEDIA_FORMATS[part["format"]])
        case WidgetKind.LIST:
            made = replace(plain, value=value if isinstance(value, list) else [])
        case WidgetKind.ROWS:
            made = replace(plain, rows=list(_rows(path, part, value)), sum_of=_summed(part))
        case WidgetKind.JSON:
            made = replace(plain, value="" if value is None else orjson.dumps(value).decode())
        case _:
            made = plain
    return made


def _number_widget(plain: Widget, part: JsonObject) -> Widget:
    step = "1" if "integer" in _types(part) else "any"
    return replace(plain, minimum=part.get("minimum"), maximum=part.get("maximum"), step=step)


def _rows(path: str, part: JsonObject, value: Any) -> Iterator[list[Widget]]:  # noqa: ANN401 - any JSON
    """Yield the widgets of each row that there is, and of an empty one to add."""
    given = [row for row in value if isinstance(row, Mapping)] if isinstance(value, list) else []
    most = min(part.get("maxItems", MAX_ROWS), MAX_ROWS)
    blank = _without_defaults(part["items"])
    for number, row in enumerate([*given, {}][:most]):
        yield widgets(blank, row, f"{path}.{number}.")


def _without_defaults(item: JsonObject) -> JsonObject:
    """Return a row's schema without defaults: they would fill in an empty row."""
    properties = {
        name: {key: text for key, text in part.items() if key != "default"}
        for name, part in item.get("properties", {}).items()
    }
    return {**item, "properties": properties}


def _summed(part: JsonObject) -> str:
    """Return the field of the rows of which the sum counts: a duration."""
    return "duration" if "duration" in part["items"].get("properties", {}) else ""


class WrongField(Exception):
    """A field whose text is no value of its kind."""


def parse_object(schema: JsonObject, fields: Fields, prefix: str = PREFIX) -> dict[str, Any]:
    """Return the value that a form sent; fields that are empty are left out.

    Values are checked by the API, not here. Raises `WrongField` for a text that is no JSON where
    the form wants JSON.
    """
    values = {
        name: _parse(f"{prefix}{name}", name, part, fields)
        for name, part in schema.get("properties", {}).items()
    }
    return {name: value for name, value in values.items() if value is not None}


def _parse(path: str, name: str, part: JsonObject, fields: Fields) -> Any:  # noqa: ANN401 - any JSON
    kind = _kind(name, part)
    if kind is WidgetKind.ROWS and path in fields:
        kind = WidgetKind.JSON  # there were more rows than a form shows
    if kind is WidgetKind.ROWS:
        return _parse_rows(path, part, fields)
    texts = [text for text in fields.get(path, ()) if text.strip()]
    if kind is WidgetKind.LIST:
        lines = [line.strip() for text in texts for line in text.splitlines()]
        return [line for line in lines if line] or None
    return _parse_text(path, kind, part, texts[-1]) if texts else None


def _parse_rows(path: str, part: JsonObject, fields: Fields) -> list[dict[str, Any]] | None:
    rows = [parse_object(part["items"], fields, f"{path}.{n}.") for n in range(MAX_ROWS)]
    # An unchecked switch is sent too: alone it makes no row.
    return [row for row in rows if any(value is not False for value in row.values())] or None


def _parse_text(path: str, kind: WidgetKind, part: JsonObject, text: str) -> Any:  # noqa: ANN401 - any JSON
    match kind:
        case WidgetKind.JSON:
            return _parse_json(path.removeprefix(PREFIX), text)
        case WidgetKind.SWITCH:
            return text == "true"
        case WidgetKind.NUMBER | WidgetKind.SLIDER:
            return as_number(text)
        case WidgetKind.CHOICE:
            return {str(option): option for option in part["enum"]}.get(text, text)
        case _:
            return text.replace("\r\n", "\n")


def _parse_json(name: str, text: str) -> Any:  # noqa: ANN401 - any JSON
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise WrongField(f"{name} is no JSON.") from error


def as_number(text: str) -> float | int | str:
    """Return a text as a number; one that is none as it is, for the API to refuse."""
    try:
        return int(text)
    except ValueError:
        pass
    try:
        number = float(text)
    except ValueError:
        return text
    return number if isfinite(number) else text


def parse_setting(text: str, part: JsonObject) -> Any:  # noqa: ANN401 - any JSON
    """Return a setting's text as JSON: null for an empty one, a text where the setting is one.

    Raises `WrongField`.
    """
    choices = part.get("anyOf", [part])
    kinds = {kind for one in choices for kind in _types(one)}
    if not text:
        return [] if "array" in kinds else {} if "object" in kinds else None
    if kinds & {"array", "object"}:
        return _parse_json("It", text)
    if "boolean" in kinds:
        return {"true": True, "false": False}.get(text, text)
    return as_number(text) if kinds & _NUMBERS else text


def _types(part: JsonObject) -> Sequence[str]:
    """Return the types of a schema: `type` is one word or, as that of an amount, a list."""
    found = part.get("type", "string")
    return [found] if isinstance(found, str) else found
