"""What `gateway webhook …` does, over the real stores; every result as a JSON document."""

from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import orjson

from cli.run_command import CommandContext, run_command
from core.representations.webhooks import delivery_representation
from service.api.webhooks.representations import (
    deliveries_representation,
    endpoint_representation,
    secret_representation,
)
from service.parsing.models import parse_model
from service.webhooks import admin_webhooks as callbacks
from service.webhooks.requests import (
    DeliveryQuery,
    EndpointChange,
    NewEndpoint,
    ReplayRequest,
    SecretRotation,
)

Fields = Mapping[str, Any]


def _run(work: Callable[[CommandContext], Coroutine[Any, Any, object]]) -> Any:  # noqa: ANN401 - a JSON document
    return orjson.loads(orjson.dumps(run_command(work)))


def endpoints(tenant: str) -> Any:  # noqa: ANN401 - a JSON document
    """A tenant's endpoints."""

    async def work(room: CommandContext) -> object:
        return [
            endpoint_representation(end)
            for end in (await room.webhooks.load_config(tenant)).endpoints
        ]

    return _run(work)


def add(tenant: str, fields: Fields) -> Any:  # noqa: ANN401 - as above
    """Make an endpoint."""

    async def work(room: CommandContext) -> object:
        made = await callbacks.add_endpoint(
            room.admin, room.webhooks, tenant, parse_model(NewEndpoint, fields)
        )
        return endpoint_representation(made)

    return _run(work)


def change(tenant: str, endpoint_id: str, fields: Fields) -> Any:  # noqa: ANN401 - as above
    """Change, disable or enable an endpoint."""

    async def work(room: CommandContext) -> object:
        named = (tenant, endpoint_id)
        changed = await callbacks.change_endpoint(
            room.admin, room.webhooks, named, parse_model(EndpointChange, fields)
        )
        return endpoint_representation(changed)

    return _run(work)


def deliveries(tenant: str, fields: Mapping[str, str]) -> Any:  # noqa: ANN401 - as above
    """A tenant's deliveries, newest first."""

    async def work(room: CommandContext) -> object:
        page = await room.webhooks.list_deliveries(tenant, parse_model(DeliveryQuery, fields))
        return deliveries_representation(page.deliveries) | {"next_cursor": page.cursor}

    return _run(work)


def resend(tenant: str, delivery_id: str) -> Any:  # noqa: ANN401 - as above
    """Send one delivery anew."""

    async def work(room: CommandContext) -> object:
        delivery = await callbacks.resend(room.admin, room.webhooks, tenant, delivery_id)
        return delivery_representation(delivery, ())

    return _run(work)


def replay(tenant: str, fields: Fields) -> Any:  # noqa: ANN401 - as above
    """Send a stretch of deliveries anew."""

    async def work(room: CommandContext) -> object:
        stretch = parse_model(ReplayRequest, fields).range(room.webhooks.clock.now())
        after = await callbacks.replay(room.admin, room.webhooks, tenant, stretch)
        return {"tenant": tenant, "waiting": len(after.ranges)}

    return _run(work)


def test(tenant: str, endpoint_id: str | None) -> Any:  # noqa: ANN401 - as above
    """Send a test event."""

    async def work(room: CommandContext) -> object:
        made = await callbacks.send_test(room.admin, room.webhooks, tenant, endpoint_id)
        return [delivery_representation(delivery, ()) for delivery in made]

    return _run(work)


def rotate(tenant: str, fields: Fields) -> Any:  # noqa: ANN401 - as above
    """Make a new secret, or a new key of which the public half is shown."""

    async def work(room: CommandContext) -> object:
        rotation = parse_model(SecretRotation, fields)
        new = await callbacks.rotate_secret(room.admin, room.webhooks, tenant, rotation)
        return secret_representation(rotation.kind, new)

    return _run(work)
