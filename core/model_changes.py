"""Changes of RunComfy's catalogue between two syncs: values, and the comparison. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

Entry = Mapping[str, Any]
"""A model as the catalogue has it."""


class ModelChangeKind(StrEnum):
    """What changed."""

    ADDED = "added"
    REMOVED = "removed"
    RENAMED = "renamed"
    """One id is gone and another is new, with the same name and input schema."""
    PRICE = "price_changed"
    FIELD_ADDED = "field_added"
    FIELD_REMOVED = "field_removed"
    FIELD_NARROWED = "field_narrowed"
    """Inputs that were valid are not any more."""
    DEFAULT = "default_changed"
    """An input without the field now has another meaning."""


@dataclass(frozen=True, slots=True)
class ModelChange:
    """One change. `subject` is the field, the earlier id of a renamed model, or ''."""

    at: datetime
    model_id: str
    kind: ModelChangeKind
    subject: str = ""
    detail: str = ""


MAX_CHANGES: Final = 1_000
"""How many changes are kept; the oldest are dropped."""
_MAX_DETAIL: Final = 200
_PRICE_FIELDS: Final = ("base_price_usd", "price_unit")
_UPPER_BOUNDS: Final = ("maximum", "exclusiveMaximum", "maxLength", "maxItems")
_LOWER_BOUNDS: Final = ("minimum", "exclusiveMinimum", "minLength", "minItems")


def compare_catalogues(
    before: Mapping[str, Entry], after: Mapping[str, Entry], at: datetime
) -> tuple[ModelChange, ...]:
    """Return what changed from `before` to `after`, both by model id."""
    gone = {name: before[name] for name in sorted(before.keys() - after.keys())}
    new = sorted(after.keys() - before.keys())
    renamed = {name: old for name in new if (old := _find_renamed(after[name], gone))}
    found = [
        *(_change(at, name, ModelChangeKind.RENAMED, old) for name, old in renamed.items()),
        *(_change(at, name, ModelChangeKind.ADDED) for name in new if name not in renamed),
        *(
            _change(at, name, ModelChangeKind.REMOVED)
            for name in gone
            if name not in renamed.values()
        ),
    ]
    for name in sorted(before.keys() & after.keys()):
        found += _changes_of_model(name, before[name], after[name], at)
    return tuple(found[:MAX_CHANGES])


def _find_renamed(entry: Entry, gone: Mapping[str, Entry]) -> str | None:
    name, schema = entry.get("display_name"), entry.get("input_schema")
    if not name or not schema:
        return None
    same = (
        old
        for old, other in gone.items()
        if other.get("display_name") == name and other.get("input_schema") == schema
    )
    return next(same, None)


def _changes_of_model(
    name: str, before: Entry, after: Entry, at: datetime
) -> Iterator[ModelChange]:
    old, new = ([entry.get(field) for field in _PRICE_FIELDS] for entry in (before, after))
    if old != new:
        yield _change(at, name, ModelChangeKind.PRICE, detail=f"{_price(old)} -> {_price(new)}")
    fields, new_fields = _fields(before), _fields(after)
    for field in sorted(new_fields.keys() - fields.keys()):
        required = field in _required(after)
        yield _change(at, name, ModelChangeKind.FIELD_ADDED, field, "required" if required else "")
    for field in sorted(fields.keys() - new_fields.keys()):
        yield _change(at, name, ModelChangeKind.FIELD_REMOVED, field)
    for field in sorted(fields.keys() & new_fields.keys()):
        was, is_now = fields[field], new_fields[field]
        reasons = list(_narrowings(was, is_now))
        if field in _required(after) and field not in _required(before):
            reasons.append("it became required")
        if reasons:
            yield _change(at, name, ModelChangeKind.FIELD_NARROWED, field, "; ".join(reasons))
        if was.get("default") != is_now.get("default"):
            detail = f"{was.get('default')!r} -> {is_now.get('default')!r}"
            yield _change(at, name, ModelChangeKind.DEFAULT, field, detail)


def _narrowings(before: Entry, after: Entry) -> Iterator[str]:
    if before.get("type") != after.get("type"):
        yield f"type {before.get('type')} -> {after.get('type')}"
    old, new = before.get("enum"), after.get("enum")
    if isinstance(new, list):
        lost = [option for option in old if option not in new] if isinstance(old, list) else []
        if lost or not isinstance(old, list):
            yield f"without {lost}" if lost else "options only"
    for names, sign in ((_UPPER_BOUNDS, 1), (_LOWER_BOUNDS, -1)):
        for name in names:
            limit, was = after.get(name), before.get(name)
            if not isinstance(limit, int | float):
                continue
            if not isinstance(was, int | float) or sign * limit < sign * was:
                yield f"{name} {was} -> {limit}"


def _fields(entry: Entry) -> Mapping[str, Entry]:
    schema = entry.get("input_schema")
    fields = schema.get("properties") if isinstance(schema, Mapping) else None
    found = fields.items() if isinstance(fields, Mapping) else ()
    return {name: inner for name, inner in found if isinstance(inner, Mapping)}


def _required(entry: Entry) -> list[object]:
    schema = entry.get("input_schema")
    names = schema.get("required") if isinstance(schema, Mapping) else None
    return names if isinstance(names, list) else []


def _price(fields: list[object]) -> str:
    amount, unit = fields
    return f"{amount} USD per {unit}"


def _change(
    at: datetime, model_id: str, kind: ModelChangeKind, subject: str = "", detail: str = ""
) -> ModelChange:
    return ModelChange(at, model_id, kind, subject, detail[:_MAX_DETAIL])
