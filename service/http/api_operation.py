"""An operation of the hot path as a value, and the route class that serves it."""

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import orjson
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from service.http.openapi import Responses

Handler = Callable[[Request], Awaitable[Response]]
JsonObject = Mapping[str, Any]


class Tag(StrEnum):
    """The groups of the API reference."""

    REQUESTS = "Requests"
    BATCHES = "Batches"
    MODELS = "Models"
    WEBHOOKS = "Webhooks"
    USAGE = "Usage"
    ADMIN_TENANTS = "Operators: tenants"
    ADMIN_WEBHOOKS = "Operators: webhooks"
    ADMIN_LIMITS_AND_PAUSES = "Operators: limits, pauses, doubts"
    HEALTH = "Health"


@dataclass(frozen=True, slots=True)
class ApiOperation:
    """One method of one path. `openapi_extra` is merged into its OpenAPI operation."""

    method: str
    path: str
    handler: Handler
    name: str
    summary: str
    tag: Tag
    responses: Responses
    openapi_extra: JsonObject = field(default_factory=dict)
    description: str = ""


class RawRoute(APIRoute):
    """A documented route. Its handler takes the request and returns the response itself.

    FastAPI's routing and models take longer than most handlers (docs/adr/0020).
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the endpoint function itself."""
        return self.endpoint


def json_bytes_response(
    body: bytes, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Return a response with a JSON body."""
    return Response(body, status, headers, "application/json")


def json_response(
    document: object, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Return `document` as a JSON response."""
    return json_bytes_response(orjson.dumps(document), status, headers)
