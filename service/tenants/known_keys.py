"""The check of a key before anything else of its request is read (docs/adr/0021)."""

from datetime import timedelta
from typing import Final

from core.clock import Clock
from core.store.interfaces import JobRepository
from core.tenants.api_keys import Credential, Scope
from service.recent_values import RecentValues

KNOWN_FOR: Final = timedelta(seconds=5)
"""How long a check is good enough to read a body. What the body leads to is checked by the store
again: a revoked key can do nothing in this time."""
MAX_KNOWN_KEYS: Final = 10_000


class KnownKeys:
    """Checks keys in the store. Valid ones are remembered: a busy caller costs no round trip."""

    def __init__(self, jobs: JobRepository, clock: Clock) -> None:
        """Check keys in `jobs`."""
        self._jobs = jobs
        self._known = RecentValues[tuple[Credential, Scope | None], bool](
            clock, KNOWN_FOR, MAX_KNOWN_KEYS
        )

    def __len__(self) -> int:
        """Return the number of keys that are remembered."""
        return len(self._known)

    async def check(self, credential: Credential, scope: Scope | None) -> None:
        """Raise `Unauthenticated` or `NotPermitted` if the key may not act within `scope`."""
        known = (credential, scope)
        if self._known.get(known):
            return
        await self._jobs.authenticate(credential, scope, None)
        self._known.put(known, True)  # noqa: FBT003 - a set with an end
