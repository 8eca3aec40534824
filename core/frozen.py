"""Dataclasses that are created so often that freezing them costs."""

from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def statically_frozen(cls: type[T]) -> type[T]:
    """Make a dataclass whose fields mypy does not let be assigned.

    With `frozen=True` Python assigns each field through a function: a job's record would take over
    ten times as long to create, and a poll would spend a twentieth of its CPU on small values.
    `unsafe_hash` gives the hash that a frozen dataclass has.
    """
    return dataclass(slots=True, unsafe_hash=True)(cls)
