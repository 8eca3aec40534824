"""What a route is made of, as a value. Knows no address."""

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import orjson
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

Handler = Callable[[Request], Awaitable[Response]]
Document = Mapping[str, Any]


class Tag(StrEnum):
    """The groups of the documentation."""

    REQUESTS = "Requests"
    BATCHES = "Batches"
    MODELS = "Models"
    WEBHOOKS = "Webhooks"
    USAGE = "Usage"
    TENANTS = "Operators: tenants"
    CALLBACKS = "Operators: callbacks"
    CONTROLS = "Operators: limits, pauses, doubts"
    HEALTH = "Operation"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method of one path. `answers` and `extra` are OpenAPI's `responses` and operation."""

    method: str
    path: str
    handler: Handler
    name: str
    summary: str
    tag: Tag
    answers: Mapping[int, Document]
    extra: Document = field(default_factory=dict)
    description: str = ""


class RawRoute(APIRoute):
    """A documented route whose handler takes the request and gives the answer, nothing between.

    FastAPI's dependencies and models cost about as much as everything else that a submit does.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The endpoint itself."""
        return self.endpoint


def json_answer(
    body: bytes, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """JSON bytes as an answer."""
    return Response(body, status, headers, "application/json")


def shown(
    document: object, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """A document as an answer."""
    return json_answer(orjson.dumps(document), status, headers)
