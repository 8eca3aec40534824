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
        self._pending: dict[str, int] = {}
        """By address: beginnings that it still misses, for answers that took as long as several."""
        self._is_counting = False
        self._latest = ""
        """The address that began last."""
        self._several_until = -math.inf

    def take(self, address: str, loop: asyncio.AbstractEventLoop) -> bool:
        """Count a beginning of `address`. False: it has to wait (`wait`)."""
        if address != self._latest:
            self._latest = address
            self._several_until = loop.time() + ALONE_AFTER.total_seconds()
        begun = self._begun.get(address, 0)
        self._count(loop)
        if address in self._waiting or address in self._pending:
            return False
        if begun >= PER_TURN and begun >= self._most(loop):
            return False
        self._begun[address] = begun + 1
        return True

    def charge(self, address: str, beginnings: int, loop: asyncio.AbstractEventLoop) -> None:
        """Let what an address began count as so many more: it waits for as many turns' worth."""
        self._pending[address] = self._pending.get(address, 0) + beginnings
        self._count(loop)

    def wait(self, address: str, begin: Callable[[], None]) -> None:
        """Call `begin` in a later turn; only after `take` returned False."""
        self._waiting.setdefault(address, deque()).append(begin)

    def _most(self, loop: asyncio.AbstractEventLoop) -> int:
        return PER_TURN if loop.time() < self._several_until else ALONE_PER_TURN

    def _count(self, loop: asyncio.AbstractEventLoop) -> None:
        """End this turn when the event loop has run all that is ready."""
        if not self._is_counting:
            self._is_counting = True
            loop.call_soon(self._end_turn, loop)

    def _end_turn(self, loop: asyncio.AbstractEventLoop) -> None:
        self._begun.clear()
        self._is_counting = False
        most = self._most(loop)
        for address in list(self._pending):
            self._pending[address] -= most
            if self._pending[address] <= 0:
                del self._pending[address]
        for address, waiting in list(self._waiting.items()):
            self._count(loop)
            if address in self._pending:
                continue
            self._begun[address] = min(most, len(waiting))
            for _ in range(self._begun[address]):
                loop.call_soon(waiting.popleft())
            if not waiting:
                del self._waiting[address]
        if self._pending:
            self._count(loop)
