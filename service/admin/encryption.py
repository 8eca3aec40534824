"""Operators' use case after a change of encryption keys: encrypt again what older ones wrote."""

from dataclasses import replace
from typing import Final

from core.errors import Conflict
from core.transactions.webhook_config_update import WebhookConfigUpdate
from service.operator_context import AdminContext

_MAX_TRIES: Final = 5


async def rewrite_secrets(admin: AdminContext) -> int:
    """Store every tenant's webhook secrets under the newest key; return how many tenants have some.

    Safe while everything runs, and to repeat. Raises `SecretsUnreadable`, `Conflict`.
    """
    tenants = sorted(await admin.stores.webhook_configs.list_tenants())
    for tenant in tenants:
        await _rewrite(admin, tenant)
    if tenants:
        await admin.record_action("secrets.rewrite", "all", f"{len(tenants)} tenants")
    return len(tenants)


async def _rewrite(admin: AdminContext, tenant: str) -> None:
    configs = admin.stores.webhook_configs
    for _ in range(_MAX_TRIES):
        before = await configs.load(tenant)
        if before is None:  # deleted meanwhile
            return
        after = replace(before, version=before.version + 1)
        if await configs.update(WebhookConfigUpdate(before, after)):
            return
    raise Conflict(f"The webhooks of {tenant} changed too often meanwhile; try again.")
