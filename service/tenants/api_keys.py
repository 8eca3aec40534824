"""A tenant's API keys. Several can be valid at a time, so that keys rotate without downtime."""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Final

from pydantic import AfterValidator, Field

from core.errors import Conflict, InvalidInput, NotFound, Unauthenticated
from core.money import from_usd, to_usd
from core.tenants.addresses import network_bits
from core.tenants.api_keys import (
    KEY_ID_LENGTH,
    ApiKey,
    ApiKeyUsage,
    KeyLimits,
    Scope,
    api_key_digest,
    build_api_key,
    parse_api_key,
)
from service.operator_context import AdminContext
from service.parsing.fields import MAX_REFERENCE_LENGTH, InvalidField, parse_printable
from service.parsing.request_models import RequestModel, Usd
from service.tenants.settings import MAX_MODEL_PATTERNS, ModelPattern
from service.tenants.tenants import load_tenant

MAX_KEY_ADDRESSES: Final = 100
# Too short a start could name another key than the operator means, once there are more.
_ID_PREFIX: Final = re.compile(r"[0-9a-f]{4,16}")


def _check_network(network: str) -> str:
    try:
        network_bits(network)
    except ValueError as error:
        raise InvalidField("must be an address or a CIDR block, such as 10.0.0.0/8") from error
    return network


_KeyName = Annotated[
    str,
    AfterValidator(parse_printable),
    Field(strict=True, json_schema_extra={"minLength": 1, "maxLength": MAX_REFERENCE_LENGTH}),
]
_Network = Annotated[str, Field(strict=True, max_length=64), AfterValidator(_check_network)]


class KeySettings(RequestModel):
    """A key's name, and what it may do less than its tenant: for the admin API and the command."""

    name: _KeyName | None = Field(
        None, description="What it is called in lists and in the usage, such as `render-farm`."
    )
    addresses: Annotated[tuple[_Network, ...], Field(max_length=MAX_KEY_ADDRESSES)] = Field(
        (), description="Addresses and CIDR blocks that may use it; empty: all."
    )
    models: Annotated[tuple[ModelPattern, ...], Field(max_length=MAX_MODEL_PATTERNS)] = Field(
        (), description="Model ids that it may use, of those of its tenant; empty: all of them."
    )
    usd_per_day: Usd | None = Field(None, description="Its own budget per day (UTC), in USD.")
    usd_per_month: Usd | None = Field(None, description="Its own budget per month (UTC), in USD.")

    def limits(self) -> KeyLimits:
        """Return the limits that are stored with the key."""
        return KeyLimits(
            self.addresses, self.models, from_usd(self.usd_per_day), from_usd(self.usd_per_month)
        )


def key_id(record: ApiKey) -> str:
    """Return the id of a key in lists and commands: the start of its digest."""
    return record.digest[:KEY_ID_LENGTH]


_NO_SETTINGS: Final = KeySettings()


async def create_key(
    admin: AdminContext,
    tenant: str,
    scopes: frozenset[Scope],
    expires_at: datetime | None,
    settings: KeySettings = _NO_SETTINGS,
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
    limits, name = settings.limits(), settings.name
    record = ApiKey(api_key_digest(text), tenant, now, scopes, expires_at, limits, name)
    if not await admin.stores.tenants.add_key(record):
        raise Conflict(f"The tenant {tenant} has the maximum number of keys; revoke one first.")
    expiry = "never" if expires_at is None else expires_at.isoformat()
    named = "" if name is None else f"name {name}; "
    change = f"{named}scopes {','.join(sorted(scopes))}; expires {expiry}{_limits_text(limits)}"
    await admin.record_action("key.create", f"{tenant}/{key_id(record)}", change)
    return text, record


def _limits_text(limits: KeyLimits) -> str:
    money = {"usd_per_day": limits.usd_per_day, "usd_per_month": limits.usd_per_month}
    texts = [f"{name} {to_usd(amount)}" for name, amount in money.items() if amount is not None]
    texts += [f"addresses {','.join(limits.addresses)}"] if limits.addresses else []
    texts += [f"models {','.join(limits.models)}"] if limits.models else []
    return "".join(f"; {text}" for text in texts)


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
