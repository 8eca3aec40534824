"""Counts the steps of items that raise, so that none is repeated without end."""

from typing import Final

from core.errors import RecordUnreadable, Unavailable

MAX_STEP_FAILURES: Final = 8
_MAX_ITEMS: Final = 1_000


class StepFailures:
    """Counts by item in this process. Another worker counts on its own, and gives up as late."""

    def __init__(self) -> None:
        """No step has raised yet."""
        self._counts: dict[str, int] = {}

    def record(self, item_id: str) -> bool:
        """Count a step that raised; return whether it was the last one that is allowed."""
        failures = self._counts.pop(item_id, 0) + 1
        if failures >= MAX_STEP_FAILURES:
            return True
        if len(self._counts) >= _MAX_ITEMS:
            del self._counts[next(iter(self._counts))]
        self._counts[item_id] = failures
        return False

    def forget(self, item_id: str) -> None:
        """Start again: a step of the item succeeded."""
        self._counts.pop(item_id, None)


def is_own_fault(error: Exception) -> bool:
    """Return whether the item itself is at fault, and not something that is unavailable."""
    return isinstance(error, RecordUnreadable) or not isinstance(error, Unavailable)
