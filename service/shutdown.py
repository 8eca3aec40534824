"""How a process stops: it first lets balancers know, then closes."""

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta


@dataclass(slots=True)
class Shutdown:
    """The end of one process. `/readyz` answers 503 from the announcement on."""

    delay: timedelta = timedelta(0)
    """How long the process goes on serving after the announcement."""
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the process closes: waits and streams end."""
    _due: timedelta | None = None

    @property
    def is_announced(self) -> bool:
        """Whether the process is about to stop."""
        return self._due is not None

    def announce(self, now: timedelta) -> None:
        """Stop after the delay; immediately if it was announced before.

        May be called from a signal handler.
        """
        self._due = now if self.is_announced else now + self.delay

    def is_due(self, now: timedelta) -> bool:
        """Whether the process is to close its listeners now."""
        return self._due is not None and now >= self._due
