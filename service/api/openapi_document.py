"""The API's description: what all routes share, and the whole document. Knows no handler."""

from collections.abc import Sequence
from importlib.metadata import version
from typing import Final

import orjson
from fastapi.openapi.utils import get_openapi
from starlette.routing import BaseRoute

from service.api.admin.schemas import ADMIN_COMPONENTS
from service.api.batches.schemas import COMPONENTS as BATCH_COMPONENTS
from service.api.schemas import COMPONENTS
from service.api.webhooks.schemas import COMPONENTS as WEBHOOK_COMPONENTS
from service.api.webhooks.schemas import webhooks_section
from service.context import DISTRIBUTION
from service.http.openapi import ADMIN_TOKEN_SCHEME

TITLE: Final = "runcomfy-gateway"


_API_DESCRIPTION: Final = (
    "RunComfy's Model API, self-hosted: any RunComfy client works by changing its base URL and "
    "token. No paid job is lost, and none is paid for twice."
)


_TENANT_SCHEME: Final = "tenant_key"


def openapi_document(routes: Sequence[BaseRoute]) -> bytes:
    """The description of `routes` as JSON."""
    document = get_openapi(
        title=TITLE, version=version(DISTRIBUTION), description=_API_DESCRIPTION, routes=routes
    )
    document["components"] = {
        "schemas": {
            **COMPONENTS,
            **BATCH_COMPONENTS,
            **WEBHOOK_COMPONENTS,
            **ADMIN_COMPONENTS,
        },
        "securitySchemes": {
            _TENANT_SCHEME: {
                "type": "http",
                "scheme": "bearer",
                "description": "A tenant's key, as `gateway tenant create` printed it.",
            },
            ADMIN_TOKEN_SCHEME: {
                "type": "http",
                "scheme": "bearer",
                "description": "`GATEWAY_ADMIN_TOKEN`. Without that setting this API is off (404).",
            },
        },
    }
    document["webhooks"] = webhooks_section()
    document["security"] = [{_TENANT_SCHEME: []}]
    return orjson.dumps(document)
