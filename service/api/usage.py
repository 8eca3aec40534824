"""What the key's own tenant used, and how its limits stand."""

import asyncio
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from core.errors import Unauthenticated
from core.tenants.api_keys import Scope
from service.api.schemas import USAGE_EXAMPLE
from service.context import app_context
from service.http.authentication import authenticate_tenant
from service.http.endpoint import ApiOperation, Tag, json_response
from service.http.openapi import problem_responses, response_spec
from service.tenants.usage import usage_representation
from service.webhooks.webhook_service import MAX_SCANNED


async def usage(request: Request) -> Response:
    """The tenant's windows: used, reserved, limit, reset, by model."""
    resources = app_context(request.scope)
    tenant = await resources.tenants.load(await authenticate_tenant(request, Scope.READ))
    if tenant is None:  # deleted since
        raise Unauthenticated
    now = resources.clock.now()
    read, silent = await asyncio.gather(
        resources.usage.read(tenant.name, tenant.limits, now),
        resources.webhooks.disabled_endpoints(tenant.name),
    )
    return json_response(usage_representation(tenant.name, read, now, silent))


OPERATIONS: Final = (
    ApiOperation(
        "GET",
        "/v1/usage",
        usage,
        "usage",
        "What the tenant used",
        Tag.USAGE,
        {
            200: response_spec("The day and the month, by model.", "Usage", USAGE_EXAMPLE),
            **problem_responses(401, 403, 503),
        },
        {},
        "Days and months are UTC. Money is USD, six decimals at most; `used` is `settled` and "
        "`reserved`, and counts against the limit. `disabled_endpoints` get no callbacks; of the "
        f"newest {MAX_SCANNED:,}, `owed` are sent to them when they are enabled again.",
    ),
)
