"""The door of the operators' API: its token, and what its operations share. Knows no use case."""

import hmac
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response

from core.errors import NotFound, Unauthenticated
from service.context import resources_of
from service.http.authentication import bearer
from service.http.endpoint import Handler
from service.http.openapi import OPERATORS_ONLY
from service.operator_context import Desk

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
        check_token(request.headers, token.get_secret_value())
        return await act(request, resources.desk)

    return handler


def check_token(headers: Headers, token: str) -> None:
    """Raises `Unauthenticated` unless `headers` present `token`; takes as long for any other."""
    presented = bearer(headers) or ""
    if not hmac.compare_digest(presented.encode(), token.encode()):
        raise Unauthenticated("The operators' token is needed: `Authorization: Bearer …`.")


def operators(*parameters: Mapping[str, Any], **extra: object) -> dict[str, Any]:
    """What each of these operations adds to the description."""
    return {**OPERATORS_ONLY, **extra, **({"parameters": list(parameters)} if parameters else {})}
