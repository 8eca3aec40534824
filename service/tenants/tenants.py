"""Tenants: create, look at, change, delete; their webhook secrets."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from core.billing.usage import Usage
from core.errors import Conflict, NotFound
from core.tenants.api_keys import ApiKey, api_key_digest, build_api_key
from core.tenants.tenant import Tenant, check_tenant_name, is_tenant_name
from core.webhooks.secrets import encode_webhook_secret
from service.operator_context import AdminContext
from service.tenants.settings import (
    Difference,
    TenantSettings,
    diff_settings,
    format_differences,
)

MAX_TRIES: Final = 5
MAX_LIVE_SECRETS: Final = 2
"""The newest webhook secret, and the one before it while receivers move over."""


@dataclass(frozen=True, slots=True)
class NewTenant:
    """A tenant, and what is shown of it once."""

    tenant: Tenant
    key: str
    webhook_secret: str


async def create_tenant(admin: AdminContext, name: str, settings: TenantSettings) -> NewTenant:
    """Make a tenant with its first key. Raises `InvalidInput`, or `Conflict` for a taken name."""
    check_tenant_name(name)
    settings.check_webhook(admin.target_policy)
    made = build_tenant(admin, name, settings)
    key = ApiKey(api_key_digest(made.key), name, made.tenant.created_at)
    if not await admin.tenants.create(made.tenant, key):
        raise await _name_conflict(admin, name)
    changes = diff_settings(TenantSettings(), TenantSettings.of(made.tenant))
    await admin.record_action("tenant.create", name, format_differences(changes))
    return made


async def _name_conflict(admin: AdminContext, name: str) -> Conflict:
    held = await admin.tenants.load(name)
    if held is not None and held.deleted_at is not None:
        return Conflict(f"A tenant {name} was deleted less than 30 days ago.")
    return Conflict(f"The tenant {name} exists already.")


def build_tenant(admin: AdminContext, name: str, settings: TenantSettings) -> NewTenant:
    """A tenant with a first key and webhook secret, not yet stored."""
    secret = encode_webhook_secret(admin.ids.secret())
    bare = Tenant(name=name, created_at=admin.clock.now(), webhook_secrets=(secret,))
    return NewTenant(settings.apply_to(bare), build_api_key(name, admin.ids.secret()), secret)


async def load_tenant(admin: AdminContext, name: str) -> Tenant:
    """A tenant that is not deleted. Raises `NotFound`."""
    tenant = await load_tenant_or_deleted(admin, name)
    if tenant.deleted_at is not None:
        raise _tenant_not_found(name)
    return tenant


async def load_tenant_or_deleted(admin: AdminContext, name: str) -> Tenant:
    """A tenant, also one deleted of late: its bill is still due. Raises `NotFound`."""
    tenant = await admin.tenants.load(name) if is_tenant_name(name) else None
    if tenant is None:
        raise _tenant_not_found(name)
    return tenant


def _tenant_not_found(name: str) -> NotFound:
    return NotFound(f"There is no tenant {name}.")


async def list_tenants(admin: AdminContext) -> tuple[Tenant, ...]:
    """Every tenant by name; those that are deleted are left out."""
    names = sorted(await admin.tenants.list_names())
    found = await asyncio.gather(*map(admin.tenants.load, names))
    return tuple(tenant for tenant in found if tenant is not None and tenant.deleted_at is None)


@dataclass(frozen=True, slots=True)
class TenantChange:
    """A tenant as it now is, and what changed."""

    tenant: Tenant
    changes: tuple[Difference, ...]


async def change_tenant(admin: AdminContext, name: str, settings: TenantSettings) -> TenantChange:
    """Change the settings that were given in `settings`; in force with the next submit.

    Raises `InvalidInput`, `NotFound`.
    """
    settings.check_webhook(admin.target_policy)

    def decide(tenant: Tenant) -> Tenant:
        return with_settings(tenant, TenantSettings.of(tenant).changed_by(settings))

    before, after = await _update_tenant(admin, name, decide)
    changes = diff_settings(TenantSettings.of(before), TenantSettings.of(after))
    if changes:
        await admin.record_action("tenant.change", name, format_differences(changes))
    return TenantChange(after, changes)


def with_settings(tenant: Tenant, settings: TenantSettings) -> Tenant:
    """The tenant's next record; itself where nothing changes."""
    changed = settings.apply_to(tenant)
    return tenant if changed == tenant else replace(changed, version=tenant.version + 1)


async def delete_tenant(admin: AdminContext, name: str) -> None:
    """End a tenant: its keys stop at once, its open jobs go on and are called back."""
    for _ in range(MAX_TRIES):
        before = await load_tenant(admin, name)
        after = replace(
            before, disabled=True, deleted_at=admin.clock.now(), version=before.version + 1
        )
        if await admin.tenants.delete(before, after):
            await admin.record_action("tenant.delete", name)
            return
    raise _contended(name)


@dataclass(frozen=True, slots=True)
class NewWebhookSecret:
    """A webhook secret, shown once, and when those before it end."""

    secret: str
    previous_end_at: datetime


async def rotate_webhook_secret(
    admin: AdminContext, name: str, overlap: timedelta
) -> NewWebhookSecret:
    """A new webhook secret. The one before counts for `overlap`, or until it is retired."""
    made = NewWebhookSecret(encode_webhook_secret(admin.ids.secret()), admin.clock.now() + overlap)

    def decide(tenant: Tenant) -> Tenant:
        return replace(
            tenant,
            webhook_secrets=(made.secret, *tenant.webhook_secrets)[:MAX_LIVE_SECRETS],
            webhook_overlap_ends_at=made.previous_end_at,
            version=tenant.version + 1,
        )

    await _update_tenant(admin, name, decide)
    ends = made.previous_end_at.isoformat(timespec="seconds")
    await admin.record_action("webhook-secret.rotate", name, f"the one before ends {ends}")
    return made


async def retire_webhook_secret(admin: AdminContext, name: str) -> Tenant:
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

    before, after = await _update_tenant(admin, name, decide)
    if after is not before:
        await admin.record_action("webhook-secret.retire", name)
    return after


async def load_usage(admin: AdminContext, name: str) -> Usage:
    """What a tenant used, and how its limits stand; also of one deleted of late."""
    tenant = await load_tenant_or_deleted(admin, name)
    return await admin.usage.read(name, tenant.limits, admin.clock.now())


async def _update_tenant(
    admin: AdminContext, name: str, decide: Callable[[Tenant], Tenant]
) -> tuple[Tenant, Tenant]:
    """The record before and after `decide`; somebody else's change in between is built upon."""
    for _ in range(MAX_TRIES):
        before = await load_tenant(admin, name)
        after = decide(before)
        if after is before or await admin.tenants.change(before, after):
            return before, after
    raise _contended(name)


def _contended(name: str) -> Conflict:
    return Conflict(f"The tenant {name} kept changing meanwhile; try again.")
