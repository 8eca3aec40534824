"""Sessions of the web console, and the codes that begin one. Stored under a digest of their token.

Who reads Redis, or a copy of it, finds no token that a browser could present.
"""

from datetime import timedelta

from core.clock import MILLISECOND
from core.store import keys
from core.store.client import RedisClient


class ConsoleSessionStore:
    """Sessions in Redis. A document is opaque here."""

    def __init__(self, client: RedisClient) -> None:
        """Send commands through `client`."""
        self._client = client

    async def add(self, digest: str, document: bytes, lifetime: timedelta) -> None:
        """Store a document for `lifetime`."""
        milliseconds = lifetime // MILLISECOND
        await self._client.execute(
            "SET", keys.console_session(digest), document, "PX", milliseconds
        )

    async def load(self, digest: str) -> bytes | None:
        """Return the document; None: there is none, or its lifetime is over."""
        found: bytes | None = await self._client.execute("GET", keys.console_session(digest))
        return found

    async def take(self, digest: str) -> bytes | None:
        """Remove the document and return it: of several callers one gets it."""
        found: bytes | None = await self._client.execute("GETDEL", keys.console_session(digest))
        return found
