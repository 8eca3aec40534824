"""Tenants: create, look at, change, delete; their webhook secrets."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from core.billing.usage import Usage
from core.errors import Conflict, NotFound
from core.tenants.api_keys import KeyRecord, digest_of, mint_key
from core.tenants.tenant import Tenant, check_name, is_name
from core.webhooks.secrets import mint_webhook_secret
from service.operator_context import Desk
from service.tenants.settings import (
    Difference,
    TenantSettings,
    differences,
    put_on,
    read_fields,
    settings_of,
    told,
)

MOST_TRIES: Final = 5
LIVE_SECRETS: Final = 2
"""The newest webhook secret, and the one before it while receivers move over."""


@dataclass(frozen=True, slots=True)
class NewTenant:
    """A tenant, and what is shown of it once."""

    tenant: Tenant
    key: str
    webhook_secret: str


async def create_tenant(desk: Desk, name: str, raw: Mapping[str, object]) -> NewTenant:
    """Make a tenant with its first key. Raises `InvalidInput`, or `Conflict` for a taken name."""
    check_name(name)
    made = mint(desk, name, read_fields(raw, TenantSettings(), desk.targets))
    key = KeyRecord(digest_of(made.key), name, made.tenant.created_at)
    if not await desk.tenants.create(made.tenant, key):
        raise await _taken(desk, name)
    changes = differences(TenantSettings(), settings_of(made.tenant))
    await desk.note("tenant.create", name, told(changes))
    return made


async def _taken(desk: Desk, name: str) -> Conflict:
    held = await desk.tenants.load(name)
    if held is not None and held.deleted_at is not None:
        return Conflict(f"A tenant {name} was deleted less than 30 days ago.")
    return Conflict(f"The tenant {name} exists already.")


def mint(desk: Desk, name: str, settings: TenantSettings) -> NewTenant:
    """A tenant with a first key and webhook secret, not yet stored."""
    secret = mint_webhook_secret(desk.ids.secret())
    bare = Tenant(name=name, created_at=desk.clock.now(), webhook_secrets=(secret,))
    return NewTenant(put_on(bare, settings), mint_key(name, desk.ids.secret()), secret)


async def load_tenant(desk: Desk, name: str) -> Tenant:
    """A tenant that is not deleted. Raises `NotFound`."""
    tenant = await recall_tenant(desk, name)
    if tenant.deleted_at is not None:
        raise _no_tenant(name)
    return tenant


async def recall_tenant(desk: Desk, name: str) -> Tenant:
    """A tenant, also one deleted of late: its bill is still due. Raises `NotFound`."""
    tenant = await desk.tenants.load(name) if is_name(name) else None
    if tenant is None:
        raise _no_tenant(name)
    return tenant


def _no_tenant(name: str) -> NotFound:
    return NotFound(f"There is no tenant {name}.")


async def list_tenants(desk: Desk) -> tuple[Tenant, ...]:
    """Every tenant by name; those that are deleted are left out."""
    names = sorted(await desk.tenants.names())
    found = await asyncio.gather(*map(desk.tenants.load, names))
    return tuple(tenant for tenant in found if tenant is not None and tenant.deleted_at is None)


@dataclass(frozen=True, slots=True)
class ChangedTenant:
    """A tenant as it now is, and what changed."""

    tenant: Tenant
    changes: tuple[Difference, ...]


async def change_tenant(desk: Desk, name: str, raw: Mapping[str, object]) -> ChangedTenant:
    """Change the settings that `raw` names; in force with the next submit.

    Raises `InvalidInput`, `NotFound`.
    """

    def decide(tenant: Tenant) -> Tenant:
        return with_settings(tenant, read_fields(raw, settings_of(tenant), desk.targets))

    before, after = await _advance(desk, name, decide)
    changes = differences(settings_of(before), settings_of(after))
    if changes:
        await desk.note("tenant.change", name, told(changes))
    return ChangedTenant(after, changes)


def with_settings(tenant: Tenant, settings: TenantSettings) -> Tenant:
    """The tenant's next record; itself where nothing changes."""
    if settings == settings_of(tenant):
        return tenant
    return put_on(replace(tenant, version=tenant.version + 1), settings)


async def delete_tenant(desk: Desk, name: str) -> None:
    """End a tenant: its keys stop at once, its open jobs go on and are called back."""
    for _ in range(MOST_TRIES):
        before = await load_tenant(desk, name)
        after = replace(
            before, disabled=True, deleted_at=desk.clock.now(), version=before.version + 1
        )
        if await desk.tenants.delete(before, after):
            await desk.note("tenant.delete", name)
            return
    raise _contended(name)


@dataclass(frozen=True, slots=True)
class NewSecret:
    """A webhook secret, shown once, and when those before it end."""

    secret: str
    previous_end_at: datetime


async def rotate_webhook_secret(desk: Desk, name: str, overlap: timedelta) -> NewSecret:
    """A new webhook secret. The one before counts for `overlap`, or until it is retired."""
    made = NewSecret(mint_webhook_secret(desk.ids.secret()), desk.clock.now() + overlap)

    def decide(tenant: Tenant) -> Tenant:
        return replace(
            tenant,
            webhook_secrets=(made.secret, *tenant.webhook_secrets)[:LIVE_SECRETS],
            webhook_overlap_ends_at=made.previous_end_at,
            version=tenant.version + 1,
        )

    await _advance(desk, name, decide)
    ends = made.previous_end_at.isoformat(timespec="seconds")
    await desk.note("webhook-secret.rotate", name, f"the one before ends {ends}")
    return made


async def retire_webhook_secret(desk: Desk, name: str) -> Tenant:
    """Callbacks are signed with the newest secret alone from now on."""

    def decide(tenant: Tenant) -> Tenant:
        newest = tenant.webhook_secrets[:1]
        if newest == tenant.webhook_secrets:
            return tenant
        return replace(
            tenant,
            webhook_secrets=newest,
            webhook_overlap_ends_at=None,
            version=tenant.version + 1,
        )

    before, after = await _advance(desk, name, decide)
    if after is not before:
        await desk.note("webhook-secret.retire", name)
    return after


async def usage_of(desk: Desk, name: str) -> Usage:
    """What a tenant used, and how its limits stand; also of one deleted of late."""
    tenant = await recall_tenant(desk, name)
    return await desk.usage.read(name, tenant.limits, desk.clock.now())


async def _advance(
    desk: Desk, name: str, decide: Callable[[Tenant], Tenant]
) -> tuple[Tenant, Tenant]:
    """The record before and after `decide`; somebody else's change in between is built upon."""
    for _ in range(MOST_TRIES):
        before = await load_tenant(desk, name)
        after = decide(before)
        if after is before or await desk.tenants.change(before, after):
            return before, after
    raise _contended(name)


def _contended(name: str) -> Conflict:
    return Conflict(f"The tenant {name} kept changing meanwhile; try again.")
