"""How many connections end in one turn of the event loop."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

ENDINGS_PER_TURN: Final = 8
"""Each takes a sixteenth of a millisecond: with its transport, its parser and its last request."""


class Endings:
    """Ends a few connections in each turn of the event loop; the rest waits for the next ones.

    Otherwise thousands that a caller leaves end in one turn, in which other callers wait.
    """

    def __init__(self) -> None:
        """Start with no connection that is to end."""
        self._waiting: deque[Callable[[], None]] = deque()

    def add(self, end: Callable[[], None], loop: asyncio.AbstractEventLoop) -> None:
        """Call `end` in one of the next turns."""
        if not self._waiting:
            loop.call_soon(self._end_some, loop)
        self._waiting.append(end)

    def _end_some(self, loop: asyncio.AbstractEventLoop) -> None:
        for _ in range(min(ENDINGS_PER_TURN, len(self._waiting))):
            loop.call_soon(self._waiting.popleft())
        if self._waiting:
            loop.call_soon(self._end_some, loop)
