"""Values that are used for a time after they were read, in bounded number."""

from collections.abc import Hashable
from datetime import timedelta
from typing import Generic, TypeVar

from core.clock import Clock

KeyT = TypeVar("KeyT", bound=Hashable)
ValueT = TypeVar("ValueT")


class RecentValues(Generic[KeyT, ValueT]):
    """Keeps each value for `lifetime`; where there are `max_entries`, the oldest gives way."""

    def __init__(self, clock: Clock, lifetime: timedelta, max_entries: int) -> None:
        """Start without values."""
        self._clock = clock
        self._lifetime = lifetime
        self._max_entries = max_entries
        self._entries: dict[KeyT, tuple[timedelta, ValueT]] = {}

    def __len__(self) -> int:
        """Return the number of values that are kept, also of those that have expired."""
        return len(self._entries)

    def get(self, key: KeyT) -> ValueT | None:
        """Return the value of `key`; None if there is none, or it has expired."""
        entry = self._entries.get(key)
        return None if entry is None or entry[0] <= self._clock.monotonic() else entry[1]

    def put(self, key: KeyT, value: ValueT) -> None:
        """Keep `value`, from now on."""
        self.forget(key)  # dicts keep their order: the oldest entry is the first
        if len(self._entries) >= self._max_entries:
            del self._entries[next(iter(self._entries))]
        self._entries[key] = (self._clock.monotonic() + self._lifetime, value)

    def forget(self, key: KeyT) -> None:
        """Drop the value of `key`, if there is one."""
        self._entries.pop(key, None)
