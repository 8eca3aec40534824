"""Fake of the store of console sessions."""

from datetime import timedelta

from tests.support.memory_store.state import MemoryState


class MemoryConsoleSessionStore:
    """Fake of `core.store.console_sessions.ConsoleSessionStore`."""

    def __init__(self, memory: MemoryState) -> None:
        """Share `memory` with the other stores."""
        self._memory = memory

    async def add(self, digest: str, document: bytes, lifetime: timedelta) -> None:
        self._memory.console_sessions[digest] = (document, self._memory.clock.now() + lifetime)

    async def load(self, digest: str) -> bytes | None:
        found = self._memory.console_sessions.get(digest)
        return found[0] if found is not None and self._memory.clock.now() < found[1] else None

    async def take(self, digest: str) -> bytes | None:
        found = await self.load(digest)
        self._memory.console_sessions.pop(digest, None)
        return found
