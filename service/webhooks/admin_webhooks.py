"""Endpoints and callbacks in operators' hands: what tenants do themselves, and noted."""

from collections.abc import Mapping
from typing import Any

from core.webhooks.delivery import Delivery
from core.webhooks.endpoint import Endpoint
from core.webhooks.replay import Replay, Stretch
from service.operator_context import Desk
from service.webhooks.parser import Rotation, read_endpoint
from service.webhooks.webhook_service import Mailroom

Fields = Mapping[str, Any]


async def add_endpoint(desk: Desk, room: Mailroom, tenant: str, fields: Fields) -> Endpoint:
    """Make an endpoint. Raises as `Mailroom.create`."""
    made = await room.create(tenant, read_endpoint(fields, room.policy))
    await desk.note("webhook.add", tenant, made.id)
    return made


async def change_endpoint(
    desk: Desk, room: Mailroom, named: tuple[str, str], fields: Fields
) -> Endpoint:
    """Change, disable or enable one; `named` is its tenant and its id."""
    tenant, endpoint_id = named
    changed = await room.change(tenant, endpoint_id, read_endpoint(fields, room.policy))
    # Values may hold secrets: a URL's query, a header.
    await desk.note("webhook.change", tenant, f"{endpoint_id}: {', '.join(fields)}")
    return changed


async def remove_endpoint(desk: Desk, room: Mailroom, tenant: str, endpoint_id: str) -> None:
    """Delete one; what waits for it is given up."""
    await room.remove(tenant, endpoint_id)
    await desk.note("webhook.remove", tenant, endpoint_id)


async def resend(desk: Desk, room: Mailroom, tenant: str, delivery_id: str) -> Delivery:
    """Send one callback anew."""
    delivery = await room.resend(tenant, delivery_id)
    await desk.note("webhook.resend", tenant, delivery_id)
    return delivery


async def replay(desk: Desk, room: Mailroom, tenant: str, stretch: Stretch) -> Replay:
    """Send a stretch of callbacks anew. Raises `NotFound` for an unknown tenant."""
    await room.setup(tenant)
    after = await room.replay(tenant, stretch)
    span = f"{stretch.since.isoformat()} to {stretch.until.isoformat()}"
    states = ",".join(sorted(stretch.states))
    await desk.note("webhook.replay", tenant, f"{span}; {states}; {stretch.endpoint or 'all'}")
    return after


async def send_test(
    desk: Desk, room: Mailroom, tenant: str, endpoint_id: str | None
) -> tuple[Delivery, ...]:
    """Send a test event."""
    made = await room.test(tenant, endpoint_id)
    await desk.note("webhook.test", tenant, endpoint_id or "all")
    return made


async def rotate(desk: Desk, room: Mailroom, tenant: str, rotation: Rotation) -> str:
    """Make a new secret, or a new key."""
    new = await room.rotate(tenant, rotation)
    await desk.note("webhook.rotate", tenant, rotation.kind)
    return new
