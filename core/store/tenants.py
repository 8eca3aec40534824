"""Tenants and their keys in Redis. Keys are stored as digests only."""

import dataclasses
from typing import Final

from core.clock import to_ms
from core.limits import Limits, lua_pattern
from core.store import keys
from core.store.connection import Argument, Wire
from core.store.lua import Scripts
from core.store.records import KEYS, TENANTS
from core.tenants import KeyRecord, Tenant


class TenantStore:
    """Who may use the gateway."""

    def __init__(self, wire: Wire, scripts: Scripts) -> None:
        """Talk over `wire`."""
        self._wire = wire
        self._scripts = scripts

    async def create(self, tenant: Tenant, key: KeyRecord) -> bool:
        """Write a new tenant with its first key; False when the name is taken."""
        created = await self._scripts.call(
            "create_tenant",
            [keys.tenant(tenant.name), keys.TENANTS, keys.api_key(key.digest)],
            [
                tenant.name,
                ",".join(sorted(key.scopes)),
                "" if key.expires_at is None else to_ms(key.expires_at),
                KEYS.write(key),
                *tenant_fields(tenant),
            ],
        )
        return bool(created)

    async def load(self, name: str) -> Tenant | None:
        """One tenant."""
        document = await self._wire.execute("HGET", keys.tenant(name), "doc")
        return None if document is None else TENANTS.read(document)

    async def names(self) -> frozenset[str]:
        """Every tenant's name."""
        return frozenset(
            name.decode() for name in await self._wire.execute("SMEMBERS", keys.TENANTS)
        )


def tenant_fields(tenant: Tenant) -> list[Argument]:
    """A tenant's hash, names and values in turn: the record, and what the admission script reads."""
    limits = tenant.limits
    fields: dict[str, Argument] = {
        "doc": TENANTS.write(tenant),
        "disabled": int(tenant.disabled),
        "models": "\n".join(lua_pattern(pattern) for pattern in limits.models),
    }
    for name in _PLAIN_LIMITS:
        value = getattr(limits, name)
        fields[name] = "" if value is None else int(value) if isinstance(value, int) else value
    return [part for pair in fields.items() for part in pair]


_PLAIN_LIMITS: Final = tuple(
    limit.name for limit in dataclasses.fields(Limits) if limit.name != "models"
)
