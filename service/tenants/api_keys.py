"""A tenant's API keys. Several can be valid at a time, so that keys rotate without downtime."""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from core.errors import Conflict, InvalidInput, NotFound, Unauthenticated
from core.tenants.api_keys import (
    ApiKey,
    ApiKeyUsage,
    Scope,
    api_key_digest,
    build_api_key,
    parse_api_key,
)
from service.operator_context import AdminContext
from service.tenants.tenants import load_tenant

_ID_LENGTH: Final = 16
# Too short a start could name another key than the operator means, once there are more.
_ID_PREFIX: Final = re.compile(r"[0-9a-f]{4,16}")


def key_id(record: ApiKey) -> str:
    """Return the id of a key in lists and commands: the start of its digest."""
    return record.digest[:_ID_LENGTH]


async def create_key(
    admin: AdminContext, tenant: str, scopes: frozenset[Scope], expires_at: datetime | None
) -> tuple[str, ApiKey]:
    """Create a key, and return its text, which is shown once, with its record.

    Raises `NotFound`, `InvalidInput`, and `Conflict` beyond 20 keys.
    """
    now = admin.clock.now()
    if expires_at is not None and expires_at <= now:
        raise InvalidInput("expires_at must be in the future.")
    if not scopes:
        raise InvalidInput("A key needs at least one scope.")
    await load_tenant(admin, tenant)
    text = build_api_key(tenant, admin.ids.secret())
    record = ApiKey(api_key_digest(text), tenant, now, scopes, expires_at)
    if not await admin.stores.tenants.add_key(record):
        raise Conflict(f"The tenant {tenant} has the maximum number of keys; revoke one first.")
    expiry = "never" if expires_at is None else expires_at.isoformat()
    change = f"scopes {','.join(sorted(scopes))}; expires {expiry}"
    await admin.record_action("key.create", f"{tenant}/{key_id(record)}", change)
    return text, record


async def list_keys(admin: AdminContext, tenant: str) -> Sequence[ApiKeyUsage]:
    """Return a tenant's keys, oldest first. Raises `NotFound`."""
    await load_tenant(admin, tenant)
    return await admin.stores.tenants.list_keys(tenant)


async def revoke_key(admin: AdminContext, tenant: str, key_or_id: str) -> ApiKey:
    """Revoke a key with immediate effect. Jobs that were submitted with it continue.

    `key_or_id`: its id or the start of it, or the key itself if it leaked. Raises `NotFound`, and
    `Conflict` if several ids start so.
    """
    prefix = _digest_prefix(key_or_id)
    keys = [use.api_key for use in await list_keys(admin, tenant)]
    found = [key for key in keys if key.digest.startswith(prefix)]
    if not found:
        raise NotFound(f"The tenant {tenant} has no such key.")
    if len(found) > 1:
        raise Conflict(f"The tenant {tenant} has {len(found)} keys whose ids start so.")
    await admin.stores.tenants.revoke_key(tenant, found[0].digest)
    await admin.record_action("key.revoke", f"{tenant}/{key_id(found[0])}")
    return found[0]


def _digest_prefix(key_or_id: str) -> str:
    if _ID_PREFIX.fullmatch(key_or_id):
        return key_or_id
    try:
        return parse_api_key(key_or_id).digest
    except Unauthenticated as error:
        raise NotFound("That is neither the id of a key nor a key.") from error
