"""What `gateway webhook …` does, over the real stores; every result as a JSON document."""

from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import orjson

from cli.run_command import Room, perform_in_room
from core.representations.webhooks import delivery_document
from service.api.webhooks.representations import (
    deliveries_document,
    endpoint_document,
    secret_document,
)
from service.webhooks import admin_webhooks as callbacks
from service.webhooks.parser import read_delivery_query, read_replay, read_rotation

Fields = Mapping[str, Any]


def _in_room(work: Callable[[Room], Coroutine[Any, Any, object]]) -> Any:  # noqa: ANN401 - a JSON document
    return orjson.loads(orjson.dumps(perform_in_room(work)))


def endpoints(tenant: str) -> Any:  # noqa: ANN401 - a JSON document
    """A tenant's endpoints."""

    async def work(room: Room) -> object:
        return [endpoint_document(end) for end in (await room.mailroom.setup(tenant)).endpoints]

    return _in_room(work)


def add(tenant: str, fields: Fields) -> Any:  # noqa: ANN401 - as above
    """Make an endpoint."""

    async def work(room: Room) -> object:
        made = await callbacks.add_endpoint(room.desk, room.mailroom, tenant, fields)
        return endpoint_document(made)

    return _in_room(work)


def change(tenant: str, endpoint_id: str, fields: Fields) -> Any:  # noqa: ANN401 - as above
    """Change, disable or enable an endpoint."""

    async def work(room: Room) -> object:
        named = (tenant, endpoint_id)
        changed = await callbacks.change_endpoint(room.desk, room.mailroom, named, fields)
        return endpoint_document(changed)

    return _in_room(work)


def deliveries(tenant: str, fields: Mapping[str, str]) -> Any:  # noqa: ANN401 - as above
    """A tenant's deliveries, newest first."""

    async def work(room: Room) -> object:
        page = await room.mailroom.page(
            tenant, read_delivery_query(fields, room.mailroom.clock.now())
        )
        return deliveries_document(page.deliveries) | {"next_cursor": page.cursor}

    return _in_room(work)


def resend(tenant: str, delivery_id: str) -> Any:  # noqa: ANN401 - as above
    """Send one delivery anew."""

    async def work(room: Room) -> object:
        delivery = await callbacks.resend(room.desk, room.mailroom, tenant, delivery_id)
        return delivery_document(delivery, ())

    return _in_room(work)


def replay(tenant: str, fields: Fields) -> Any:  # noqa: ANN401 - as above
    """Send a stretch of deliveries anew."""

    async def work(room: Room) -> object:
        stretch = read_replay(fields, room.mailroom.clock.now())
        after = await callbacks.replay(room.desk, room.mailroom, tenant, stretch)
        return {"tenant": tenant, "waiting": len(after.stretches)}

    return _in_room(work)


def test(tenant: str, endpoint_id: str | None) -> Any:  # noqa: ANN401 - as above
    """Send a test event."""

    async def work(room: Room) -> object:
        made = await callbacks.send_test(room.desk, room.mailroom, tenant, endpoint_id)
        return [delivery_document(delivery, ()) for delivery in made]

    return _in_room(work)


def rotate(tenant: str, fields: Fields) -> Any:  # noqa: ANN401 - as above
    """Make a new secret, or a new key of which the public half is shown."""

    async def work(room: Room) -> object:
        rotation = read_rotation(fields)
        new = await callbacks.rotate(room.desk, room.mailroom, tenant, rotation)
        return secret_document(rotation.kind, new)

    return _in_room(work)
