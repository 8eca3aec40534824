"""Bounds what one tenant or model may occupy of a worker. Pure.

A group may hold at most `SHARE_OF_FREE` times what is free (dynamic thresholds; Choudhury and Hahne
1998): one group alone gets three quarters, two get three sevenths each, and some is always free for
a group that has nothing yet.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

SHARE_OF_FREE: Final = 3


@dataclass(slots=True)
class FairShare:
    """What is in flight, in total and by group. An item may belong to several groups."""

    capacity: int
    total: int = 0
    by_group: Counter[str] = field(default_factory=Counter)

    @property
    def available(self) -> int:
        """How many more items may be in flight."""
        return self.capacity - self.total

    def admits(self, groups: Iterable[str]) -> bool:
        """Return whether each group is below its share; an item without groups always is."""
        most = max(SHARE_OF_FREE * self.available, 1)
        return self.available > 0 and all(self.by_group[group] < most for group in groups)

    def enter(self, groups: Iterable[str]) -> None:
        """Count an item that begins."""
        self.total += 1
        for group in groups:
            self.by_group[group] += 1

    def leave(self, groups: Iterable[str]) -> None:
        """Count an item that ended."""
        self.total -= 1
        for group in groups:
            self.by_group[group] -= 1
            if not self.by_group[group]:
                del self.by_group[group]
