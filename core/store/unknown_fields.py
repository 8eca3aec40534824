"""Fields of a record that this release does not know: kept aside, and written back unchanged.

A newer release may have added them before this one was rolled back to, or while both run.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

_ID: Final = "id"


@dataclass(frozen=True, slots=True)
class ItemId:
    """An item of a list, by its field `id`: positions change when the list does."""

    id: str


@dataclass(frozen=True, slots=True)
class UnknownField:
    """A value and where it belongs."""

    path: tuple[str | ItemId, ...]
    value: Any


def remove_unknown(
    document: Any,  # noqa: ANN401 - parsed JSON
    locations: Sequence[tuple[str | int, ...]],
) -> tuple[UnknownField, ...]:
    """Remove the fields at `locations` from a parsed document and return them.

    A field inside a list item without an `id` is removed and not returned: its item
    could not be found again in a changed list.
    """
    removed = []
    for location in locations:
        *parents, name = location
        holder, path = document, []
        for step in parents:
            holder = holder[step]
            path.append(step if isinstance(step, str) else _item_id(holder))
        value = holder.pop(name)
        if None not in path:
            steps = tuple(step for step in path if step is not None)
            removed.append(UnknownField((*steps, str(name)), value))
    return tuple(removed)


def restore_unknown(document: Any, fields: Sequence[UnknownField]) -> None:  # noqa: ANN401 - as above
    """Put fields back where they belong; one whose parent is gone is dropped with it."""
    for field in fields:
        *parents, name = field.path
        holder = document
        for step in parents:
            holder = _child(holder, step)
        if isinstance(holder, dict):
            holder.setdefault(name, field.value)


def _item_id(item: Any) -> ItemId | None:  # noqa: ANN401 - as above
    name = item.get(_ID) if isinstance(item, dict) else None
    return ItemId(name) if isinstance(name, str) else None


def _child(holder: Any, step: str | ItemId) -> Any:  # noqa: ANN401 - as above
    if isinstance(step, str):
        return holder.get(step) if isinstance(holder, dict) else None
    items = holder if isinstance(holder, list) else []
    return next((item for item in items if _item_id(item) == step), None)
