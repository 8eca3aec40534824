"""Use cases of webhooks with an entry in the audit log, for operators and tenants.

What has changed nothing has no entry.
"""

from datetime import datetime

from core.webhooks.config import WebhookConfig
from core.webhooks.delivery import Delivery
from core.webhooks.endpoint import Endpoint
from core.webhooks.replay import Replay, ReplayRange
from service.operator_context import AdminContext
from service.webhooks.requests import EndpointChange, EndpointRequest, SecretRotation
from service.webhooks.webhook_service import WebhookService


async def add_endpoint(
    admin: AdminContext, webhooks: WebhookService, tenant: str, new: EndpointRequest
) -> Endpoint:
    """Create an endpoint. Raises as `WebhookService.create_endpoint`."""
    endpoint = await webhooks.create_endpoint(tenant, new)
    await admin.record_action("webhook.add", tenant, endpoint.id)
    return endpoint


async def change_endpoint(
    admin: AdminContext,
    webhooks: WebhookService,
    endpoint_ref: tuple[str, str],
    change: EndpointChange,
) -> Endpoint:
    """Change, disable or enable an endpoint; `endpoint_ref` is its tenant and its id."""
    tenant, endpoint_id = endpoint_ref
    changed = await webhooks.change_endpoint(tenant, endpoint_id, change)
    # Values may hold secrets: a URL's query, a header.
    names = ", ".join(
        name for name in EndpointChange.model_fields if name in change.model_fields_set
    )
    if changed.has_changed:
        await admin.record_action("webhook.change", tenant, f"{endpoint_id}: {names}")
    return changed.endpoint


async def delete_endpoint(
    admin: AdminContext, webhooks: WebhookService, tenant: str, endpoint_id: str
) -> None:
    """Delete an endpoint; its pending deliveries are dropped."""
    await webhooks.delete_endpoint(tenant, endpoint_id)
    await admin.record_action("webhook.remove", tenant, endpoint_id)


async def resend(
    admin: AdminContext, webhooks: WebhookService, tenant: str, delivery_id: str
) -> Delivery:
    """Send one delivery again."""
    delivery = await webhooks.resend(tenant, delivery_id)
    await admin.record_action("webhook.resend", tenant, delivery_id)
    return delivery


async def replay(
    admin: AdminContext, webhooks: WebhookService, tenant: str, replay_range: ReplayRange
) -> Replay:
    """Send a range of deliveries again. Raises `NotFound` for an unknown tenant."""
    await webhooks.load_config(tenant)
    after = await webhooks.replay(tenant, replay_range)
    span = f"{replay_range.since.isoformat()} to {replay_range.until.isoformat()}"
    states = ",".join(sorted(replay_range.states))
    await admin.record_action(
        "webhook.replay", tenant, f"{span}; {states}; {replay_range.endpoint_id or 'all'}"
    )
    return after


async def send_test(
    admin: AdminContext, webhooks: WebhookService, tenant: str, endpoint_id: str | None
) -> tuple[Delivery, ...]:
    """Send a test event."""
    deliveries = await webhooks.send_test_events(tenant, endpoint_id)
    await admin.record_action("webhook.test", tenant, endpoint_id or "all")
    return deliveries


async def rotate_secret(
    admin: AdminContext, webhooks: WebhookService, tenant: str, rotation: SecretRotation
) -> tuple[str, datetime]:
    """Create a secret or signing key; return it, and when the previous ones end."""
    new, ends_at = await webhooks.rotate_secret(tenant, rotation)
    ends = ends_at.isoformat(timespec="seconds")
    await admin.record_action(
        "webhook.rotate", tenant, f"{rotation.kind}; the one before ends {ends}"
    )
    return new, ends_at


async def retire_secrets(
    admin: AdminContext, webhooks: WebhookService, tenant: str
) -> WebhookConfig:
    """Sign webhooks with the newest secret alone from now on."""
    update, now = await webhooks.retire_secrets(tenant), admin.clock.now()
    before, after = (
        (config.live_secrets(now), config.live_signing_keys(now))
        for config in (update.before, update.after)
    )
    if after != before:
        await admin.record_action("webhook.retire", tenant)
    return update.after
