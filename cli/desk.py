"""What `gateway webhook …` does, over the real stores; every result as a JSON document."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson

from cli.operations import perform
from core.documents import delivery_document
from core.signing_keys import public_key
from core.store.connection import Wire, connection_source
from core.store.lua import Scripts, read_scripts
from service.desk import Desk, endpoint_document
from service.resources import open_desk
from service.settings import ServiceSettings
from service.webhook_bodies import (
    read_delivery_query,
    read_endpoint,
    read_replay,
    read_rotation,
)

Fields = Mapping[str, Any]


def _at_desk(work: Callable[[Desk], Awaitable[Any]]) -> Any:  # noqa: ANN401 - a JSON document
    async def run(settings: ServiceSettings) -> object:
        async with Wire(connection_source(settings.redis, "cli")) as wire:
            made: object = await work(open_desk(settings, wire, Scripts(wire, read_scripts())))
            return made

    return orjson.loads(orjson.dumps(perform(run)))


def endpoints(tenant: str) -> Any:  # noqa: ANN401 - a JSON document
    """A tenant's endpoints."""

    async def work(desk: Desk) -> object:
        return [endpoint_document(end) for end in (await desk.setup(tenant)).endpoints]

    return _at_desk(work)


def add(tenant: str, fields: Fields) -> Any:  # noqa: ANN401 - as above
    """Make an endpoint."""

    async def work(desk: Desk) -> object:
        return endpoint_document(await desk.create(tenant, read_endpoint(fields, desk.policy)))

    return _at_desk(work)


def change(tenant: str, endpoint_id: str, fields: Fields) -> Any:  # noqa: ANN401 - as above
    """Change, disable or enable an endpoint."""

    async def work(desk: Desk) -> object:
        draft = read_endpoint(fields, desk.policy)
        return endpoint_document(await desk.change(tenant, endpoint_id, draft))

    return _at_desk(work)


def deliveries(tenant: str, fields: Mapping[str, str]) -> Any:  # noqa: ANN401 - as above
    """A tenant's deliveries, newest first."""

    async def work(desk: Desk) -> object:
        page = await desk.page(tenant, read_delivery_query(fields, desk.clock.now()))
        shown = [delivery_document(delivery, attempts) for delivery, attempts in page.deliveries]
        return {"deliveries": shown, "next_cursor": page.cursor}

    return _at_desk(work)


def resend(tenant: str, delivery_id: str) -> Any:  # noqa: ANN401 - as above
    """Send one delivery anew."""

    async def work(desk: Desk) -> object:
        return delivery_document(await desk.resend(tenant, delivery_id), ())

    return _at_desk(work)


def replay(tenant: str, fields: Fields) -> Any:  # noqa: ANN401 - as above
    """Send a stretch of deliveries anew."""

    async def work(desk: Desk) -> object:
        await desk.setup(tenant)
        after = await desk.replay(tenant, read_replay(fields, desk.clock.now()))
        return {"tenant": tenant, "waiting": len(after.stretches)}

    return _at_desk(work)


def test(tenant: str, endpoint_id: str | None) -> Any:  # noqa: ANN401 - as above
    """Send a test event."""

    async def work(desk: Desk) -> object:
        made = await desk.test(tenant, endpoint_id)
        return [delivery_document(delivery, ()) for delivery in made]

    return _at_desk(work)


def rotate(tenant: str, fields: Fields) -> Any:  # noqa: ANN401 - as above
    """Make a new secret, or a new key of which the public half is shown."""

    async def work(desk: Desk) -> object:
        new = await desk.rotate(tenant, read_rotation(fields))
        is_secret = new.startswith("whsec_")
        return {"secret": new} if is_secret else {"public_key": public_key(new)}

    return _at_desk(work)
