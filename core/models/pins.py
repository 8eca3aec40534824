"""Pins of models: a model as an operator has tried it, and what RunComfy has changed since. Pure.

A pin keeps the entry's own fields and not a digest alone, so that a refusal can name the change.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import orjson

from core.models.changes import (
    REQUIRED,
    Entry,
    ModelChange,
    ModelChangeKind,
    compare_models,
)

MAX_PINS: Final = 1_000
"""Of all tenants together: each process holds them all."""
_PINNED_FIELDS: Final = ("input_schema", "base_price_usd", "price_unit")
_BREAKING: Final = frozenset(
    {
        ModelChangeKind.REMOVED,
        ModelChangeKind.FIELD_REMOVED,
        ModelChangeKind.FIELD_NARROWED,
        ModelChangeKind.DEFAULT,
    }
)


@dataclass(frozen=True, slots=True)
class ModelPin:
    """A pin for one tenant; for every tenant if `tenant` is ''."""

    model_id: str
    pinned_at: datetime
    entry: Mapping[str, Any]
    """The pinned fields of the model's entry in the catalogue."""
    tenant: str = ""
    with_price: bool = False
    """Whether a change of the price counts."""

    @property
    def schema_digest(self) -> str:
        """The digest of the pinned schema."""
        return schema_digest(self.entry)


def pin_model(
    model_id: str, entry: Entry, now: datetime, tenant: str = "", *, with_price: bool = False
) -> ModelPin:
    """Return a pin of a model as its entry has it now."""
    kept = {name: entry[name] for name in _PINNED_FIELDS if name in entry}
    return ModelPin(model_id, now, kept, tenant, with_price)


def schema_digest(entry: Entry) -> str:
    """Return the digest of a model's input schema: SHA-256 over its JSON with sorted keys."""
    text = orjson.dumps(entry.get("input_schema"), option=orjson.OPT_SORT_KEYS)
    return f"sha256:{hashlib.sha256(text).hexdigest()}"


def changes_since(pin: ModelPin, entry: Entry | None, now: datetime) -> tuple[ModelChange, ...]:
    """Return what changed of a pinned model in a way that can change what an input means.

    `entry` is the model's present one; None if RunComfy lists it no more.
    """
    if entry is None:
        return (ModelChange(now, pin.model_id, ModelChangeKind.REMOVED),)
    changes = compare_models(pin.model_id, pin.entry, entry, now)
    return tuple(change for change in changes if _is_breaking(change, with_price=pin.with_price))


def _is_breaking(change: ModelChange, *, with_price: bool) -> bool:
    if change.kind is ModelChangeKind.PRICE:
        return with_price
    if change.kind is ModelChangeKind.FIELD_ADDED:
        return change.detail == REQUIRED
    return change.kind in _BREAKING


def is_touched(
    change: ModelChange, pin: ModelPin, value: Mapping[str, object], wrong_fields: frozenset[str]
) -> bool:
    """Return whether a change concerns this input.

    `wrong_fields` are the top-level fields with errors by the present schema; '' for the input.
    """
    field, is_sent = change.subject, value.get(change.subject) is not None
    match change.kind:
        case ModelChangeKind.FIELD_REMOVED:
            return is_sent or has_default(pin, field)
        case ModelChangeKind.DEFAULT:
            return not is_sent
        case ModelChangeKind.FIELD_NARROWED | ModelChangeKind.FIELD_ADDED:
            return bool(wrong_fields) if not field else field in wrong_fields
        case _:
            return True


def has_default(pin: ModelPin, field: str) -> bool:
    """Return whether an input without the field had a value for it: what was it replaced by?"""
    schema = pin.entry.get("input_schema")
    fields = schema.get("properties") if isinstance(schema, Mapping) else None
    inner = fields.get(field) if isinstance(fields, Mapping) else None
    return isinstance(inner, Mapping) and inner.get("default") is not None
