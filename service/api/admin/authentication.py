"""The door of the operators' API: its token, and what its operations share. Knows no use case."""

import hmac
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response

from core.errors import NotFound, Unauthenticated
from service.context import app_context
from service.http.authentication import bearer_token
from service.http.endpoint import Handler
from service.http.openapi import ADMIN_SECURITY
from service.operator_context import AdminContext

ADMIN_ROOT: Final = "/admin/v1"
AdminHandler = Callable[[Request, AdminContext], Awaitable[Response]]


def require_admin(admin_handler: AdminHandler) -> Handler:
    """`act` for whoever holds the operators' token."""

    # No `wraps`: FastAPI would look through it, and take `act`'s arguments for a caller's.
    async def handler(request: Request) -> Response:
        resources = app_context(request.scope)
        token = resources.policy.admin_token
        if token is None:
            # As any address that is not there: the setting that is missing is nobody's business.
            raise NotFound("There is nothing at this address.")
        check_token(request.headers, token.get_secret_value())
        return await admin_handler(request, resources.admin)

    return handler


def check_token(headers: Headers, token: str) -> None:
    """Raises `Unauthenticated` unless `headers` present `token`; takes as long for any other."""
    presented = bearer_token(headers) or ""
    if not hmac.compare_digest(presented.encode(), token.encode()):
        raise Unauthenticated("The operators' token is needed: `Authorization: Bearer …`.")


def admin_openapi_extra(*parameters: Mapping[str, Any], **extra: object) -> dict[str, Any]:
    """What each of these operations adds to the description."""
    return {**ADMIN_SECURITY, **extra, **({"parameters": list(parameters)} if parameters else {})}
