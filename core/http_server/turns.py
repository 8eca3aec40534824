"""Which connections are served in one turn of the event loop: a few of each address."""

import asyncio
import math
from collections import deque
from collections.abc import Callable
from datetime import timedelta
from typing import Final

ALONE_PER_TURN: Final = 8
"""Reads and pipelined requests of an address in one turn of the event loop, if it is the only one.

Each takes up to a third of a millisecond. With four a submit takes 5 % more processor time."""
PER_TURN: Final = 2
"""The same while other addresses send too: they wait for several turns."""
ALONE_AFTER: Final = timedelta(seconds=1)
"""An address is the only one when no other has sent for so long."""


class Turns:
    """What each address began in this turn of the event loop; the rest waits for the next ones.

    Otherwise all that a thousand connections have sent is served in one turn, in which other
    callers wait. As much is served in all.
    """

    def __init__(self) -> None:
        """Start with a turn in which nothing began."""
        self._begun: dict[str, int] = {}
        self._waiting: dict[str, deque[Callable[[], None]]] = {}
        self._latest = ""
        """The address that began last."""
        self._several_until = -math.inf

    def take(self, address: str, loop: asyncio.AbstractEventLoop) -> bool:
        """Count a beginning of `address`. False: it has to wait (`wait`)."""
        if address != self._latest:
            self._latest = address
            self._several_until = loop.time() + ALONE_AFTER.total_seconds()
        begun = self._begun.get(address, 0)
        if address in self._waiting or (begun >= PER_TURN and begun >= self._most(loop)):
            return False
        if not self._begun:
            loop.call_soon(self._end_turn, loop)
        self._begun[address] = begun + 1
        return True

    def wait(self, address: str, begin: Callable[[], None]) -> None:
        """Call `begin` in a later turn; only after `take` returned False."""
        self._waiting.setdefault(address, deque()).append(begin)

    def _most(self, loop: asyncio.AbstractEventLoop) -> int:
        return PER_TURN if loop.time() < self._several_until else ALONE_PER_TURN

    def _end_turn(self, loop: asyncio.AbstractEventLoop) -> None:
        self._begun.clear()
        most = self._most(loop)
        for address, waiting in list(self._waiting.items()):
            self._begun[address] = min(most, len(waiting))
            for _ in range(self._begun[address]):
                loop.call_soon(waiting.popleft())
            if not waiting:
                del self._waiting[address]
        if self._begun:
            loop.call_soon(self._end_turn, loop)
