"""The journal's objects in a run: they may go back to an earlier state, and be brought back."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from random import Random
from typing import Final

from core.journal.objects import ObjectInfo
from core.journal.records import IDENTITY
from tests.support.journal import MemoryObjects

HISTORY: Final = 40
"""How many writes a journal may forget that goes back."""


@dataclass(frozen=True, slots=True)
class ObjectsCopy:
    """A copy of all objects, and when it was made."""

    at: datetime
    contents: dict[str, bytes]
    written: dict[str, ObjectInfo]


@dataclass
class SimulatedObjects(MemoryObjects):
    """Objects of which copies are kept. `can_go_back`: whether they may do so from now on."""

    can_go_back: Callable[[], bool] = lambda: False
    history: list[ObjectsCopy] = field(default_factory=list)
    newest: ObjectsCopy | None = None
    """What an operator can put back: all that was there before they went back."""

    def put(self, name: str, content: bytes) -> None:
        """Store an object whatever was there."""
        if self.can_go_back() and IDENTITY in self.contents:  # before, it would be another journal
            self.history.append(self._copy())
            del self.history[:-HISTORY]
        super().put(name, content)

    def go_back(self, rng: Random) -> int:
        """Forget any number of the last writes; return how many."""
        if not self.history:
            return 0
        steps = min(len(self.history), rng.choice((1, 2, 3, 5, 10, HISTORY)))
        self._restore(len(self.history) - steps)
        return steps

    def go_back_to(self, at: datetime) -> None:
        """Forget what was written since then."""
        later = [number for number, copy in enumerate(self.history) if copy.at >= at]
        if later:
            self._restore(later[0])

    def put_newest_back(self) -> None:
        """Add what was there before they went back."""
        if self.newest is not None:
            self.contents |= self.newest.contents
            self.written |= self.newest.written

    def _restore(self, number: int) -> None:
        known, copy = self.newest, self.history[number]
        self.newest = self._copy()
        if known is not None:
            self.newest.contents.update(known.contents)
            self.newest.written.update(known.written)
        self.contents, self.written = dict(copy.contents), dict(copy.written)
        del self.history[number:]

    def _copy(self) -> ObjectsCopy:
        return ObjectsCopy(self.clock.now(), dict(self.contents), dict(self.written))
