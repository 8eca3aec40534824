"""Who calls the admin API, and whether that operator's roles allow the call."""

import hmac
from dataclasses import replace
from typing import Final

from starlette.requests import Request

from core.errors import NotFound, NotPermitted, Unauthenticated
from core.operators.operator import Role
from service.admin.operators import Login, acting_as, log_in
from service.admin.refused_calls import UNKNOWN_ACTOR
from service.admin.roles import ROLE_OF_OPERATION
from service.context import ADMIN_API_ACTOR, ADMIN_LISTENER, AppContext, app_context
from service.http.authentication import SIGNED_IN, bearer_token
from service.http.request_context import request_context
from service.operator_context import AdminContext

_CONTEXT: Final = "gateway.operator"
CONFIGURED_LOGIN: Final = Login(ADMIN_API_ACTOR, frozenset({Role.ALL}))


async def check_operator(request: Request) -> AdminContext:
    """Return the context of the operator who calls. It is found once for a request.

    Raises `NotFound` if the admin API is off, `Unauthenticated`, and `NotPermitted` without the
    role that the operation of the route needs.
    """
    if _CONTEXT not in request.scope:
        request.scope[_CONTEXT] = await _check_operator(request)
    found: AdminContext = request.scope[_CONTEXT]
    return found


async def _check_operator(request: Request) -> AdminContext:
    context = app_context(request.scope)
    if not serves_operators(request):
        # Answered as any unknown address: whether the setting is missing concerns no caller.
        raise NotFound("There is nothing at this address.")
    address = request_context(request.scope).client
    signed_in = request.scope.get(SIGNED_IN)
    if isinstance(signed_in, Login):
        login = signed_in
    else:
        login = await log_in_operator(context, bearer_token(request.headers) or "", address)
    admin = acting_as(context.admin, login, address)
    operation: str = request.scope["route"].name
    try:
        login.check(ROLE_OF_OPERATION[operation])
    except NotPermitted:
        await context.refused_calls.forbidden(admin, operation)
        raise
    return admin


def serves_operators(request: Request) -> bool:
    """Return whether the admin API is on and served by the listener that the call came to."""
    context = app_context(request.scope)
    is_elsewhere = (
        context.policy.own_admin_listener and ADMIN_LISTENER not in request.scope["state"]
    )
    return context.policy.admin_api and not is_elsewhere


async def log_in_operator(context: AppContext, token: str, address: str) -> Login:
    """Return whose token it is; a wrong one is listed in the audit log.

    Raises `Unauthenticated`.
    """
    configured = context.policy.admin_token
    if configured is not None and is_same_token(token, configured.get_secret_value()):
        return CONFIGURED_LOGIN
    try:
        return await log_in(context.admin, token)
    except Unauthenticated:
        if token:
            stranger = replace(context.admin, actor=UNKNOWN_ACTOR, address=address)
            await context.refused_calls.failed_log_in(stranger, token)
        raise


def is_same_token(presented: str, token: str) -> bool:
    """Return whether both are the same; takes as long for any other of the same length."""
    return hmac.compare_digest(presented.encode(), token.encode())
