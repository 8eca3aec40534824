"""What the key's own tenant used, and how its limits stand."""

import asyncio
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from core.errors import Unauthenticated
from core.tenants.api_keys import Scope
from service.api.schemas import USAGE_EXAMPLE
from service.context import resources_of
from service.http.authentication import tenant_calling
from service.http.endpoint import Endpoint, Tag, shown
from service.http.openapi import answer, problems
from service.tenants.usage import usage_document
from service.webhooks.webhook_service import MOST_SCANNED


async def usage(request: Request) -> Response:
    """The tenant's windows: used, reserved, limit, reset, by model."""
    resources = resources_of(request.scope)
    tenant = await resources.tenants.load(await tenant_calling(request, Scope.READ))
    if tenant is None:  # deleted since
        raise Unauthenticated
    now = resources.clock.now()
    read, silent = await asyncio.gather(
        resources.usage.read(tenant.name, tenant.limits, now),
        resources.mailroom.silent(tenant.name),
    )
    return shown(usage_document(tenant.name, read, now, silent))


ENDPOINTS: Final = (
    Endpoint(
        "GET",
        "/v1/usage",
        usage,
        "usage",
        "What the tenant used",
        Tag.USAGE,
        {
            200: answer("The day and the month, by model.", "Usage", USAGE_EXAMPLE),
            **problems(401, 403, 503),
        },
        {},
        "Days and months are UTC. Money is USD, six decimals at most; `used` is `settled` and "
        "`reserved`, and counts against the limit. `disabled_endpoints` get no callbacks; of the "
        f"newest {MOST_SCANNED:,}, `owed` are sent to them when they are enabled again.",
    ),
)
