"""Snapshots of the in-memory stores: a store that goes back gets an earlier one again."""

from copy import deepcopy
from dataclasses import fields
from typing import Any, Final

from tests.support.memory_store.state import MemoryState

_NOT_STORED: Final = frozenset(
    {"clock", "on_wake", "on_due_change", "on_job_change", "_last_reading"}
)


def take_snapshot(memory: MemoryState) -> dict[str, Any]:
    """Return a copy of all that is stored."""
    data = {
        field.name: getattr(memory, field.name)
        for field in fields(memory)
        if field.name not in _NOT_STORED
    }
    return deepcopy(data, {id(memory): memory, id(memory.clock): memory.clock})


def restore_snapshot(memory: MemoryState, snapshot: dict[str, Any]) -> None:
    """Replace all that is stored by a snapshot, in place: other objects keep the indexes."""
    copied = deepcopy(snapshot, {id(memory): memory, id(memory.clock): memory.clock})
    for name, value in copied.items():
        held = getattr(memory, name)
        if isinstance(held, dict) and isinstance(value, dict):
            held.clear()
            held.update(value)
        else:
            setattr(memory, name, value)
    memory.on_due_change()
