"""Each tenant's aliases for models, remembered for seconds."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from core.clock import Clock
from core.store.interfaces import TenantRepository
from service.recent_values import RecentValues

ALIASES_KNOWN_FOR: Final = timedelta(seconds=5)
"""How long a tenant's aliases are used after a read: a busy tenant costs no round trip."""
_MAX_TENANTS: Final = 10_000


class TenantAliases:
    """The aliases of tenants, read from their records."""

    def __init__(self, tenants: TenantRepository, clock: Clock) -> None:
        """Read the records in `tenants`."""
        self._tenants = tenants
        self._known = RecentValues[str, Mapping[str, str]](clock, ALIASES_KNOWN_FOR, _MAX_TENANTS)

    async def of(self, tenant: str) -> Mapping[str, str]:
        """Return a tenant's model ids by alias. Raises `StoreUnavailable`.

        Call it after the check of a key, so that only tenants that exist are remembered.
        """
        aliases = self._known.get(tenant)
        if aliases is None:
            record = await self._tenants.load(tenant)
            aliases = {} if record is None else dict(record.model_aliases)
            self._known.put(tenant, aliases)
        return aliases

    def forget(self, tenant: str) -> None:
        """Read the tenant's record again at the next call."""
        self._known.forget(tenant)
