"""How a process stops: it first lets balancers know, then closes."""

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

SAME_STOP: Final = timedelta(seconds=1)
"""Signals within it are one: Ctrl-C and systemd signal a process that its parent signals too."""


@dataclass(slots=True)
class Shutdown:
    """The end of one process. `/readyz` answers 503 from the announcement on."""

    delay: timedelta = timedelta(0)
    """How long the process goes on serving after the announcement."""
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the process closes: waits and streams end."""
    _due: timedelta | None = None
    _announced_at: timedelta = timedelta.min

    @property
    def is_announced(self) -> bool:
        """Whether the process is about to stop."""
        return self._due is not None

    def announce(self, now: timedelta) -> bool:
        """Stop after the delay; immediately if it was announced a second ago or earlier.

        Returns False for a repeat within that second, which changes nothing. May be called from a
        signal handler.
        """
        if self._due is None:
            self._announced_at, self._due = now, now + self.delay
            return True
        if now - self._announced_at < SAME_STOP:
            return False
        self._due = min(self._due, now)
        return True

    def is_due(self, now: timedelta) -> bool:
        """Whether the process is to close its listeners now."""
        return self._due is not None and now >= self._due
