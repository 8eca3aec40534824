"""Changes of RunComfy's catalogue between two syncs: values, and the comparison. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from core.models.schema_narrowing import narrowings

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
_OF_FIELDS: Final = frozenset({"properties", "required"})
REQUIRED: Final = "required"
"""The detail of a field that was added and must be sent."""


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
        found += compare_models(name, before[name], after[name], at)
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


def compare_models(name: str, before: Entry, after: Entry, at: datetime) -> Iterator[ModelChange]:
    """Yield what changed of one model."""
    old, new = ([entry.get(field) for field in _PRICE_FIELDS] for entry in (before, after))
    if old != new:
        yield _change(at, name, ModelChangeKind.PRICE, detail=f"{_price(old)} -> {_price(new)}")
    yield from _schema_changes(name, before, after, at)


def _schema_changes(name: str, before: Entry, after: Entry, at: datetime) -> Iterator[ModelChange]:
    fields, new_fields = _fields(before), _fields(after)
    for field in sorted(new_fields.keys() - fields.keys()):
        detail = REQUIRED if field in _required(after) else ""
        yield _change(at, name, ModelChangeKind.FIELD_ADDED, field, detail)
    for field in sorted(fields.keys() - new_fields.keys()):
        yield _change(at, name, ModelChangeKind.FIELD_REMOVED, field)
    for field in sorted(fields.keys() & new_fields.keys()):
        was, is_now = fields[field], new_fields[field]
        reasons = list(narrowings(was, is_now))
        if field in _required(after) and field not in _required(before):
            reasons.append("it became required")
        if reasons:
            yield _change(at, name, ModelChangeKind.FIELD_NARROWED, field, "; ".join(reasons))
        # The "default" of a field that must be sent is a sample.
        is_sample = field in _required(before) and field in _required(after)
        if was.get("default") != is_now.get("default") and not is_sample:
            detail = f"{was.get('default')!r} -> {is_now.get('default')!r}"
            yield _change(at, name, ModelChangeKind.DEFAULT, field, detail)
    if reasons := list(_narrowings_of_input(before, after)):
        yield _change(at, name, ModelChangeKind.FIELD_NARROWED, "", "; ".join(reasons))


def _narrowings_of_input(before: Entry, after: Entry) -> Iterator[str]:
    """Yield what narrowed of the whole input, beside its fields."""
    old, new = (
        {key: value for key, value in _schema(entry).items() if key not in _OF_FIELDS}
        for entry in (before, after)
    )
    return narrowings(old, new)


def _schema(entry: Entry) -> Entry:
    schema = entry.get("input_schema")
    return schema if isinstance(schema, Mapping) else {}


def _fields(entry: Entry) -> Mapping[str, Entry]:
    fields = _schema(entry).get("properties")
    found = fields.items() if isinstance(fields, Mapping) else ()
    return {name: inner for name, inner in found if isinstance(inner, Mapping)}


def _required(entry: Entry) -> list[object]:
    names = _schema(entry).get("required")
    return names if isinstance(names, list) else []


def _price(fields: list[object]) -> str:
    amount, unit = fields
    return f"{amount} USD per {unit}"


def _change(
    at: datetime, model_id: str, kind: ModelChangeKind, subject: str = "", detail: str = ""
) -> ModelChange:
    return ModelChange(at, model_id, kind, subject, detail[:_MAX_DETAIL])
