"""What operations declare as arguments: the context, the caller, the operator."""

import hmac
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Final

from fastapi import Depends, Path, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.datastructures import Headers
from starlette.requests import Request

from core.errors import NotFound, Unauthenticated
from core.ids import ID_PATTERN
from core.quotas import CallRate
from core.representations.jobs import Links
from core.tenants.api_keys import Credential, Scope
from service.context import ADMIN_LISTENER, AppContext, app_context
from service.http.authentication import (
    authenticate_tenant,
    bearer_token,
    request_credential,
    request_links,
)
from service.http.openapi import ADMIN_TOKEN_SCHEME
from service.http.request_context import request_context
from service.http.strict_route import KEY_CHECK
from service.operator_context import AdminContext

_ADMIN_BEARER: Final = HTTPBearer(
    scheme_name=ADMIN_TOKEN_SCHEME,
    description="`GATEWAY_ADMIN_TOKEN`. Without that setting this API is off (404).",
    auto_error=False,
)
"""Documents the scheme; `check_token` decides."""


# FastAPI runs a dependency that is no coroutine in a thread: these are coroutines to save that.
async def _app_context(request: Request) -> AppContext:
    return app_context(request.scope)


async def _links(request: Request) -> Links:
    return request_links(request)


async def require_admin(
    request: Request,
    _: Annotated[HTTPAuthorizationCredentials | None, Security(_ADMIN_BEARER)],
) -> AdminContext:
    """Return the operator's context for the operators' token. Raises as `check_operator`."""
    check_operator(request)
    address = request_context(request.scope).client
    return replace(app_context(request.scope).admin, address=address)


def check_operator(request: Request) -> None:
    """Raise `Unauthenticated` without the operators' token, `NotFound` if the admin API is off."""
    policy, state = app_context(request.scope).policy, request.scope["state"]
    token = policy.admin_token
    if token is None or (policy.own_admin_listener and ADMIN_LISTENER not in state):
        # Answered as any unknown address: whether the setting is missing concerns no caller.
        raise NotFound("There is nothing at this address.")
    check_token(request.headers, token.get_secret_value())


def check_token(headers: Headers, token: str) -> None:
    """Raises `Unauthenticated` unless `headers` present `token`; takes as long for any other."""
    presented = bearer_token(headers) or ""
    if not hmac.compare_digest(presented.encode(), token.encode()):
        raise Unauthenticated("The operators' token is needed: `Authorization: Bearer …`.")


def tenant_with(scope: Scope) -> Callable[[Request], Awaitable[str]]:
    """Return a dependency: the tenant's name, if its live key may act within `scope`."""

    async def authenticate(request: Request) -> str:
        return await authenticate_tenant(request, scope)

    return authenticate


@dataclass(frozen=True, slots=True)
class WebhookManager:
    """The caller of an operation that changes or sends webhooks: its tenant, and the audit log.

    The actor is the tenant's key.
    """

    tenant: str
    audit: AdminContext


def webhook_manager(rate: CallRate) -> Callable[[Request], Awaitable[WebhookManager]]:
    """Return a dependency: the caller, if its live key has the scope `webhooks`."""

    async def authenticate(request: Request) -> WebhookManager:
        credential, context = request_credential(request), app_context(request.scope)
        await context.stores.jobs.authenticate(credential, Scope.WEBHOOKS, rate)
        actor = f"{credential.tenant}/{credential.key_id}"
        audit = replace(context.admin, actor=actor, address=credential.address)
        return WebhookManager(credential.tenant, audit)

    return authenticate


def key_with(scope: Scope) -> Callable[[Request], Awaitable[Credential]]:
    """Return a dependency: the key of the request, which the store checks with what it reads.

    That saves a round trip. A request with an error never reaches the store: `StrictRoute` then
    checks the key before it reports the error.
    """

    async def credential(request: Request) -> Credential:
        key = request_credential(request)
        request.scope[KEY_CHECK] = partial(
            app_context(request.scope).stores.jobs.authenticate, key, scope
        )
        return key

    return credential


Context = Annotated[AppContext, Depends(_app_context)]
RequestLinks = Annotated[Links, Depends(_links)]
Admin = Annotated[AdminContext, Depends(require_admin)]
Reader = Annotated[str, Depends(tenant_with(Scope.READ))]
Manager = Annotated[WebhookManager, Depends(webhook_manager(CallRate.CALLS))]
EventSender = Annotated[WebhookManager, Depends(webhook_manager(CallRate.WEBHOOK_ACTIONS))]
ReadKey = Annotated[Credential, Depends(key_with(Scope.READ))]
CancelKey = Annotated[Credential, Depends(key_with(Scope.CANCEL))]
TenantPath = Annotated[str, Path(description="The tenant's name.")]
RequestId = Annotated[
    str,
    Path(description="The id that the submit returned.", json_schema_extra={"pattern": ID_PATTERN}),
]
BatchId = Annotated[str, Path(description="The id that the batch was given.")]
EndpointId = Annotated[str, Path(description="`default`, or `ep_…`.")]
DeliveryId = Annotated[str, Path(description="The `webhook-id` of its attempts.")]
