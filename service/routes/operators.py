"""The door of the operators' API: its token, its bodies, its answers. Knows no use case."""

import hmac
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import orjson
from starlette.requests import Request
from starlette.responses import Response

from core.errors import NotFound, Unauthenticated
from service.administration.desk import Desk
from service.auth import bearer
from service.bodies import check_content_type, read_body, read_object, refuse_twins
from service.exchange import resources_of
from service.openapi import OPERATORS_ONLY, parameter
from service.routes.endpoint import Handler, json_answer

ROOT: Final = "/admin/v1"
Act = Callable[[Request, Desk], Awaitable[Response]]


def administered(act: Act) -> Handler:
    """`act` for whoever holds the operators' token."""

    # No `wraps`: FastAPI would look through it, and take `act`'s arguments for a caller's.
    async def handler(request: Request) -> Response:
        resources = resources_of(request.scope)
        token = resources.policy.admin_token
        if token is None:
            # As any address that is not there: the setting that is missing is nobody's business.
            raise NotFound("There is nothing at this address.")
        check_token(request.headers.get("authorization", ""), token.get_secret_value())
        return await act(request, resources.desk)

    return handler


def check_token(header: str, token: str) -> None:
    """Raises `Unauthenticated` unless `header` presents `token`; takes as long for any other."""
    presented = bearer(header) or ""
    if not hmac.compare_digest(presented.encode(), token.encode()):
        raise Unauthenticated("The operators' token is needed: `Authorization: Bearer …`.")


async def wished(request: Request) -> Mapping[str, Any]:
    """The JSON object of a body; an absent body is an empty one."""
    check_content_type(request.headers)
    body = await read_body(request, resources_of(request.scope).policy.body)
    if not body:
        return {}
    found = read_object(body)
    refuse_twins(body)
    return found


def shown(document: object, status: int = 200) -> Response:
    """A document as an answer."""
    return json_answer(orjson.dumps(document), status)


def operators(*parameters: Mapping[str, Any], **extra: object) -> dict[str, Any]:
    """What each of these operations adds to the description."""
    return {**OPERATORS_ONLY, **extra, **({"parameters": list(parameters)} if parameters else {})}


TENANT: Final = parameter("tenant", "The tenant's name.", {"type": "string"}, "path")
