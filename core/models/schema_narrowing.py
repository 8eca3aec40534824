"""Whether a JSON Schema allows less than an earlier one. Pure.

Keywords are compared one by one. One that is not understood counts as narrower if it changed: what
that means for inputs is not known.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

Schema = Mapping[str, Any]
_MAX_DEPTH: Final = 8
"""Of fields within fields. Deeper ones are not compared."""
_ANNOTATIONS: Final = frozenset(
    {
        *("title", "description", "default", "examples", "example", "deprecated", "readOnly"),
        *("writeOnly", "$schema", "$id", "$comment", "order", "placeholder", "label", "ui"),
    }
)
"""Keywords without effect on which inputs are valid."""


def narrowings(before: Schema, after: Schema, depth: int = 0) -> Iterator[str]:
    """Yield why inputs that fit `before` may not fit `after`, for people; nothing if all do."""
    if depth > _MAX_DEPTH:
        return
    for keyword in sorted({*before, *after} - _ANNOTATIONS - _INNER):
        old, new = before.get(keyword), after.get(keyword)
        if old != new and not keyword.startswith("x-"):
            compare = _COMPARISONS.get(keyword, _any_change)
            if (reason := compare(keyword, old, new)) is not None:
                yield reason
    for name, old, new in _inner_schemas(before, after):
        yield from (f"{name}: {reason}" for reason in narrowings(old, new, depth + 1))


def _inner_schemas(before: Schema, after: Schema) -> Iterator[tuple[str, Schema, Schema]]:
    """Yield the fields of objects and the items of lists that both have, by name."""
    for keyword in ("items", "additionalProperties"):
        old, new = before.get(keyword), after.get(keyword)
        if isinstance(new, Mapping):
            yield keyword, old if isinstance(old, Mapping) else {}, new
        elif new is False and old is not False:
            yield keyword, {}, {"not allowed": True}
    fields, new_fields = before.get("properties"), after.get("properties")
    if isinstance(fields, Mapping) and isinstance(new_fields, Mapping):
        for name in sorted(fields.keys() & new_fields.keys()):
            if isinstance(fields[name], Mapping) and isinstance(new_fields[name], Mapping):
                yield name, fields[name], new_fields[name]
        for name in sorted(fields.keys() - new_fields.keys()):
            yield name, {}, {"removed": True}


_Comparison = Callable[[str, Any, Any], str | None]


def _any_change(keyword: str, old: object, new: object) -> str | None:
    return None if new is None else f"{keyword} {_short(old)} -> {_short(new)}"


def _is_lower(keyword: str, old: object, new: object) -> str | None:
    if not _is_number(new) or (_is_number(old) and float(str(new)) >= float(str(old))):
        return None
    return f"{keyword} {old} -> {new}"


def _is_higher(keyword: str, old: object, new: object) -> str | None:
    if not _is_number(new) or (_is_number(old) and float(str(new)) <= float(str(old))):
        return None
    return f"{keyword} {old} -> {new}"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _type_lost(_: str, old: object, new: object) -> str | None:
    types, new_types = _types(old), _types(new)
    if new is None or (types and types <= new_types):
        return None
    return f"type {old} -> {new}"


def _types(value: object) -> frozenset[object]:
    names = frozenset(
        [value] if isinstance(value, str) else value if isinstance(value, list) else ()
    )
    return names | {"integer"} if "number" in names else names


def _options_lost(_: str, old: object, new: object) -> str | None:
    if not isinstance(new, list):
        return None
    if not isinstance(old, list):
        return "options only"
    lost = [option for option in old if option not in new]
    return f"without {lost}" if lost else None


def _names_added(_: str, old: object, new: object) -> str | None:
    known = old if isinstance(old, list) else []
    added = [name for name in new if name not in known] if isinstance(new, list) else []
    return f"{', '.join(map(str, added))} required" if added else None


def _became_true(keyword: str, _: object, new: object) -> str | None:
    return keyword if new is True else None


def _no_longer_true(keyword: str, old: object, _: object) -> str | None:
    return f"not {keyword} any more" if old is True else None


def _short(value: object) -> str:
    return "none" if value is None else str(value)[:60]


_INNER: Final = frozenset({"properties", "items", "additionalProperties"})
_COMPARISONS: Final[Mapping[str, _Comparison]] = {
    "type": _type_lost,
    "enum": _options_lost,
    "required": _names_added,
    "uniqueItems": _became_true,
    "nullable": _no_longer_true,
    **dict.fromkeys(
        ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"), _is_lower
    ),
    **dict.fromkeys(
        ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"), _is_higher
    ),
}
