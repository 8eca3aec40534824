"""Use cases of tenants: create, read, change and delete."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from core.billing.usage import Budget, Usage
from core.errors import Conflict, NotFound
from core.tenants.api_keys import ApiKey, api_key_digest, build_api_key
from core.tenants.tenant import Tenant, check_tenant_name, is_tenant_name
from core.transactions.webhook_config_update import WebhookConfigUpdate
from core.webhooks.config import WebhookConfig, initial_config
from core.webhooks.secrets import encode_webhook_secret
from service.operator_context import AdminContext
from service.tenants.settings import (
    Difference,
    TenantSettings,
    diff_settings,
    format_differences,
)

MAX_TRIES: Final = 5


@dataclass(frozen=True, slots=True)
class TenantDetails:
    """A tenant with its webhook config."""

    tenant: Tenant
    config: WebhookConfig

    @property
    def settings(self) -> TenantSettings:
        """All settings of the tenant."""
        return TenantSettings.of(self.tenant, self.config.default_url)


@dataclass(frozen=True, slots=True)
class NewTenant:
    """A new tenant, and what is shown of it once."""

    details: TenantDetails
    key: str
    webhook_secret: str
    defaults_taken: tuple[str, ...] = ()
    """The limits that an operator has set for new tenants, and that were not chosen for this."""


async def create_tenant(admin: AdminContext, name: str, settings: TenantSettings) -> NewTenant:
    """Create a tenant with its first key. Raises `InvalidInput`; `Conflict` for a taken name.

    Limits that are not given are those that an operator has set for new tenants.
    """
    check_tenant_name(name)
    settings.check_webhook(admin.target_policy)
    chosen, settings = settings, settings.with_defaults(await admin.stores.admin.load_limits())
    made = build_tenant(admin, name, settings)
    tenant = made.details.tenant
    key = ApiKey(api_key_digest(made.key), name, tenant.created_at)
    if not await admin.stores.tenants.create(tenant, key, made.details.config):
        raise await _name_conflict(admin, name)
    changes = diff_settings(TenantSettings(), made.details.settings)
    await admin.record_action("tenant.create", name, format_differences(changes))
    taken = sorted(settings.model_fields_set - chosen.model_fields_set)
    return replace(made, defaults_taken=tuple(taken))


async def _name_conflict(admin: AdminContext, name: str) -> Conflict:
    held = await admin.stores.tenants.load(name)
    if held is not None and held.deleted_at is not None:
        return Conflict(f"A tenant {name} was deleted less than 30 days ago.")
    return Conflict(f"The tenant {name} exists already.")


def build_tenant(admin: AdminContext, name: str, settings: TenantSettings) -> NewTenant:
    """Return a tenant with a first key and webhook secret, not yet stored."""
    secret, now = encode_webhook_secret(admin.ids.secret()), admin.clock.now()
    tenant = settings.apply_to(Tenant(name=name, created_at=now))
    config = initial_config(name, settings.webhook, secret, now)
    key = build_api_key(name, admin.ids.secret())
    return NewTenant(TenantDetails(tenant, config), key, secret)


async def load_details(admin: AdminContext, name: str) -> TenantDetails:
    """Return a tenant that is not deleted, with its webhook config. Raises `NotFound`."""
    return await _with_config(admin, await load_tenant(admin, name))


async def _with_config(admin: AdminContext, tenant: Tenant) -> TenantDetails:
    config = await admin.stores.webhook_configs.load(tenant.name)
    return TenantDetails(tenant, config or WebhookConfig(tenant.name))


async def load_tenant(admin: AdminContext, name: str) -> Tenant:
    """Return a tenant that is not deleted. Raises `NotFound`."""
    tenant = await load_tenant_or_deleted(admin, name)
    if tenant.deleted_at is not None:
        raise _tenant_not_found(name)
    return tenant


async def load_tenant_or_deleted(admin: AdminContext, name: str) -> Tenant:
    """Return a tenant, also a recently deleted one: its usage is still read. Raises `NotFound`."""
    tenant = await admin.stores.tenants.load(name) if is_tenant_name(name) else None
    if tenant is None:
        raise _tenant_not_found(name)
    return tenant


def _tenant_not_found(name: str) -> NotFound:
    return NotFound(f"There is no tenant {name}.")


async def list_tenants(admin: AdminContext) -> tuple[TenantDetails, ...]:
    """Return every tenant by name, without deleted ones."""
    names = sorted(await admin.stores.tenants.list_names())
    found = await asyncio.gather(*map(admin.stores.tenants.load, names))
    tenants = (tenant for tenant in found if tenant is not None and tenant.deleted_at is None)
    return tuple(await asyncio.gather(*(_with_config(admin, tenant) for tenant in tenants)))


async def change_tenant(
    admin: AdminContext, name: str, settings: TenantSettings
) -> tuple[TenantDetails, tuple[Difference, ...]]:
    """Change the fields that are set in `settings`; they apply from the next submit.

    Returns the tenant after the change, and what changed.

    Raises `InvalidInput`, `NotFound`.
    """
    settings.check_webhook(admin.target_policy)

    def decide(tenant: Tenant) -> Tenant:
        # Without the webhook, which the second step compares and changes.
        before = TenantSettings.of(tenant, None)
        return with_settings(tenant, before.changed_by(settings))

    before, after = await update_tenant(admin, name, decide)
    config_before = config_after = (await _with_config(admin, after)).config
    if "webhook" in settings.model_fields_set:
        url, now = settings.webhook, admin.clock.now()
        config_before, config_after = await _update_config(
            admin, name, lambda config: config.with_default_url(url, now)
        )
    details = TenantDetails(after, config_after)
    changes = diff_settings(TenantDetails(before, config_before).settings, details.settings)
    if changes:
        await admin.record_action("tenant.change", name, format_differences(changes))
    return details, changes


def with_settings(tenant: Tenant, settings: TenantSettings) -> Tenant:
    """Return the tenant's next record; the same one if nothing changes."""
    changed = settings.apply_to(tenant)
    return tenant if changed == tenant else replace(changed, version=tenant.version + 1)


async def delete_tenant(admin: AdminContext, name: str) -> None:
    """Delete a tenant: its keys are invalid immediately; open jobs continue and send webhooks."""
    for _ in range(MAX_TRIES):
        before = await load_tenant(admin, name)
        after = replace(
            before, disabled=True, deleted_at=admin.clock.now(), version=before.version + 1
        )
        if await admin.stores.tenants.delete(before, after):
            await _remove_pins(admin, name)
            await admin.record_action("tenant.delete", name)
            return
    raise _contended(name)


async def _remove_pins(admin: AdminContext, name: str) -> None:
    for pin in await admin.stores.model_pins.list_all():
        if pin.tenant == name:
            await admin.stores.model_pins.remove(name, pin.model_id)


async def load_usage(admin: AdminContext, name: str) -> Usage:
    """Return a tenant's usage and remaining limits; also of a recently deleted one."""
    tenant = await load_tenant_or_deleted(admin, name)
    budget, now = Budget.of_tenant(tenant), admin.clock.now()
    return await admin.stores.tenants.read_usage(name, budget, now, by_model=True)


async def update_tenant(
    admin: AdminContext, name: str, decide: Callable[[Tenant], Tenant]
) -> tuple[Tenant, Tenant]:
    """Store what `decide` returns, and return the record before and after.

    After a concurrent change `decide` is called again with the new record.
    """
    for _ in range(MAX_TRIES):
        before = await load_tenant(admin, name)
        after = decide(before)
        if after is before or await admin.stores.tenants.change(before, after):
            return before, after
    raise _contended(name)


async def _update_config(
    admin: AdminContext, name: str, decide: Callable[[WebhookConfig], WebhookConfig]
) -> tuple[WebhookConfig, WebhookConfig]:
    """Return the webhook config before and after `decide`, repeated on concurrent changes."""
    for _ in range(MAX_TRIES):
        before = await admin.stores.webhook_configs.load(name) or WebhookConfig(name)
        after = decide(before)
        if after is before or await admin.stores.webhook_configs.update(
            WebhookConfigUpdate(before, after)
        ):
            return before, after
    raise _contended(name)


def _contended(name: str) -> Conflict:
    return Conflict(f"The tenant {name} changed too often meanwhile; try again.")
