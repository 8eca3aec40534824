"""Tenants and their keys in Redis. Keys are stored as digests only."""

import asyncio
import dataclasses
from collections.abc import Sequence
from typing import Final

from core.clock import MILLISECOND, Clock, from_ms, to_ms
from core.jobs.job import PublicStatus
from core.retention import DELETED_TENANT_RETENTION
from core.store import keys
from core.store.client import Argument, RedisClient, ttl_seconds
from core.store.codecs import API_KEY_CODEC, TENANT_CODEC
from core.store.scripts import LuaScripts
from core.store.wake_queue import dispatch_arguments
from core.tenants.api_keys import ApiKey, ApiKeyUsage
from core.tenants.cache_policy import TenantCachePolicy
from core.tenants.limits import Limits, lua_pattern
from core.tenants.tenant import Tenant

MAX_KEYS_PER_TENANT: Final = 20


class TenantStore:
    """Who may use the gateway."""

    def __init__(self, wire: RedisClient, scripts: LuaScripts, clock: Clock) -> None:
        """Talk over `wire`."""
        self._wire = wire
        self._scripts = scripts
        self._clock = clock

    async def create(self, tenant: Tenant, key: ApiKey) -> bool:
        """Write a new tenant with its first key; False when the name is taken."""
        created = await self._scripts.call(
            "create_tenant",
            [
                keys.tenant(tenant.name),
                keys.TENANTS,
                keys.api_key(key.digest),
                keys.tenant_keys(tenant.name),
                keys.PAUSES,
            ],
            [tenant.name, *_key_arguments(key), *tenant_fields(tenant)],
        )
        return bool(created)

    async def load(self, name: str) -> Tenant | None:
        """One tenant; a deleted one too while its record is kept."""
        document = await self._wire.execute("HGET", keys.tenant(name), "doc")
        return None if document is None else TENANT_CODEC.decode(document)

    async def list_names(self) -> frozenset[str]:
        """Every tenant's name."""
        members = await self._wire.execute("SMEMBERS", keys.TENANTS)
        return frozenset(name.decode() for name in members)

    async def change(self, before: Tenant, after: Tenant) -> bool:
        """Store a tenant's next record, in force with the next admission.

        False: somebody was first, or deleted it. Limits below what runs or waits stop nothing that
        was admitted.
        """
        now = self._clock.now()
        changed = await self._scripts.call(
            "change_tenant",
            [keys.tenant(after.name), keys.TENANTS],
            [
                before.version,
                after.name,
                to_ms(now),
                *dispatch_arguments(now),
                *tenant_fields(after),
            ],
        )
        return bool(changed)

    async def delete(self, before: Tenant, after: Tenant) -> bool:
        """End a tenant: no key works any more; open jobs go on and are called back."""
        revoked = await self._scripts.call(
            "delete_tenant",
            [
                keys.tenant(after.name),
                keys.TENANTS,
                keys.tenant_keys(after.name),
                keys.QUEUE_TAGS,
                keys.WAITING,
                *_tenant_owned_keys(after.name),
            ],
            [
                before.version,
                after.name,
                keys.api_key(""),
                ttl_seconds(DELETED_TENANT_RETENTION),
                *tenant_fields(after),
            ],
        )
        return int(revoked) >= 0

    async def add_key(self, key: ApiKey) -> bool:
        """Give a tenant one more key; False when it has as many as may be, or does not exist.

        Keys that ran out stay listed until they would stand in the way of a new one.
        """
        added = await self._scripts.call(
            "add_key",
            [keys.TENANTS, keys.api_key(key.digest), keys.tenant_keys(key.tenant)],
            [
                key.tenant,
                *_key_arguments(key),
                MAX_KEYS_PER_TENANT,
                to_ms(self._clock.now()),
                keys.api_key(""),
            ],
        )
        return int(added) == 1

    async def revoke_key(self, tenant: str, digest: str) -> bool:
        """A key ends at once; the jobs that it submitted go on. False: it is not the tenant's."""
        revoked = await self._scripts.call(
            "revoke_key", [keys.api_key(digest), keys.tenant_keys(tenant)], [digest]
        )
        return bool(revoked)

    async def list_keys(self, tenant: str) -> Sequence[ApiKeyUsage]:
        """A tenant's keys with their last use, oldest first."""
        digests = await self._wire.execute("SMEMBERS", keys.tenant_keys(tenant))
        rows = await asyncio.gather(
            *(
                self._wire.execute("HMGET", keys.api_key(digest.decode()), "doc", "last_used_at")
                for digest in digests
            )
        )
        found = (_parse_key_use(*row) for row in rows if row[0] is not None)
        return sorted(found, key=lambda use: use.api_key.created_at)


def _parse_key_use(doc: bytes, used: bytes | None) -> ApiKeyUsage:
    return ApiKeyUsage(API_KEY_CODEC.decode(doc), None if used is None else from_ms(int(used)))


def _tenant_owned_keys(name: str) -> list[str]:
    """What is kept of a tenant beside its record, and ends by nothing else."""
    return [
        keys.webhooks(name),
        keys.tenant_jobs(name),
        keys.references(name),
        *(keys.jobs_with_status(name, status) for status in PublicStatus),
    ]


def _key_arguments(key: ApiKey) -> list[Argument]:
    return [
        key.digest,
        ",".join(sorted(key.scopes)),
        "" if key.expires_at is None else to_ms(key.expires_at),
        API_KEY_CODEC.encode(key),
    ]


def tenant_fields(tenant: Tenant) -> list[Argument]:
    """A tenant's hash, names and values in turn: the record, and what the scripts read."""
    limits = tenant.limits
    fields: dict[str, Argument] = {
        "version": tenant.version,
        "doc": TENANT_CODEC.encode(tenant),
        "disabled": int(tenant.disabled),
        "keep_inputs": int(tenant.keep_inputs),
        "result_ttl": "" if tenant.result_ttl is None else tenant.result_ttl // MILLISECOND,
        "models": "\n".join(lua_pattern(pattern) for pattern in limits.models),
    }
    for name in _SCALAR_LIMIT_FIELDS:
        fields[name] = _scalar_field(getattr(limits, name))
    fields |= _cache_fields(tenant.cache_policy)
    return [part for pair in fields.items() for part in pair]


_SCALAR_LIMIT_FIELDS: Final = tuple(
    limit.name for limit in dataclasses.fields(Limits) if limit.name != "models"
)


def _cache_fields(reuse: TenantCachePolicy) -> dict[str, Argument]:
    lifetime = reuse.lifetime
    return {
        "cache": _scalar_field(reuse.cache),
        "cache_ms": "" if lifetime is None else lifetime // MILLISECOND,
        "cache_shared": _flag_field(yes=reuse.shared),
        "idempotency_required": _flag_field(yes=reuse.idempotency_required),
        "promote": _flag_field(yes=reuse.promote),
    }


def _flag_field(*, yes: bool) -> Argument:
    return "1" if yes else ""


def _scalar_field(value: float | str | None) -> Argument:
    """A limit as a script reads it; an IntEnum would be written by its name."""
    if value is None:
        return ""
    return int(value) if isinstance(value, int) else value
