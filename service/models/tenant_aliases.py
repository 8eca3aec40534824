"""Each tenant's aliases for models, remembered for seconds."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from core.clock import Clock
from core.store.interfaces import TenantRepository

ALIASES_KNOWN_FOR: Final = timedelta(seconds=5)
"""How long a tenant's aliases are used after a read: a busy tenant costs no round trip."""
_MAX_TENANTS: Final = 10_000


class TenantAliases:
    """The aliases of tenants, read from their records."""

    def __init__(self, tenants: TenantRepository, clock: Clock) -> None:
        """Read the records in `tenants`."""
        self._tenants = tenants
        self._clock = clock
        self._known: dict[str, tuple[timedelta, Mapping[str, str]]] = {}

    async def of(self, tenant: str) -> Mapping[str, str]:
        """Return a tenant's model ids by alias. Raises `StoreUnavailable`.

        Call it after the check of a key, so that only tenants that exist are remembered.
        """
        now = self._clock.monotonic()
        ends, aliases = self._known.get(tenant, (timedelta.min, {}))
        if now < ends:
            return aliases
        record = await self._tenants.load(tenant)
        aliases = {} if record is None else dict(record.model_aliases)
        self.forget(tenant)  # the oldest entry is the first
        if len(self._known) >= _MAX_TENANTS:
            del self._known[next(iter(self._known))]
        self._known[tenant] = (now + ALIASES_KNOWN_FOR, aliases)
        return aliases

    def forget(self, tenant: str) -> None:
        """Read the tenant's record again at the next call."""
        self._known.pop(tenant, None)
