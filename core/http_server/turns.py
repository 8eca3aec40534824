"""Which connections are served in one turn of the event loop: a few of each address."""

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final

PER_TURN: Final = 8
"""Reads and pipelined requests of an address in one turn of the event loop.

Each takes up to a third of a millisecond, and other callers wait for several turns.
"""

CallSoon = Callable[[Callable[[], None]], object]
"""An event loop's `call_soon`."""


class Turns:
    """What each address began in this turn of the event loop; the rest waits for the next ones.

    Otherwise all that a thousand connections have sent is served in one turn, in which
    other callers wait. As much is served in all.
    """

    def __init__(self) -> None:
        """Start with a turn in which nothing began."""
        self._begun: dict[str, int] = {}
        self._waiting: dict[str, deque[Callable[[], None]]] = {}

    def take(self, address: str, call_soon: CallSoon) -> bool:
        """Count a beginning of `address`. False: it has to wait (`wait`)."""
        begun = self._begun.get(address, 0)
        if begun >= PER_TURN or address in self._waiting:
            return False
        if not self._begun:
            call_soon(partial(self._end_turn, call_soon))
        self._begun[address] = begun + 1
        return True

    def wait(self, address: str, begin: Callable[[], None]) -> None:
        """Call `begin` in a later turn; only after `take` returned False."""
        self._waiting.setdefault(address, deque()).append(begin)

    def _end_turn(self, call_soon: CallSoon) -> None:
        self._begun.clear()
        for address, waiting in list(self._waiting.items()):
            self._begun[address] = min(PER_TURN, len(waiting))
            for _ in range(self._begun[address]):
                call_soon(waiting.popleft())
            if not waiting:
                del self._waiting[address]
        if self._begun:
            call_soon(partial(self._end_turn, call_soon))
