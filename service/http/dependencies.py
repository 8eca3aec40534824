"""What operations declare as arguments: the context, the caller, the operator."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Final

from fastapi import Depends, Path, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.requests import Request

from core.ids import ID_PATTERN
from core.quotas import CallRate
from core.representations.jobs import Links
from core.tenants.api_keys import Credential, Scope
from service.context import AppContext, app_context
from service.http.authentication import (
    authenticate_tenant,
    request_credential,
    request_links,
)
from service.http.openapi import ADMIN_TOKEN_SCHEME
from service.http.operators import check_operator
from service.http.strict_route import KEY_CHECK
from service.operator_context import AdminContext

_ADMIN_BEARER: Final = HTTPBearer(
    scheme_name=ADMIN_TOKEN_SCHEME,
    description="An operator's token (`gateway operator create`), or `GATEWAY_ADMIN_TOKEN`. "
    "Without that setting and without `GATEWAY_ADMIN_PORT` this API is off (404).",
    auto_error=False,
)
"""Documents the scheme; `check_operator` decides."""


# FastAPI runs a dependency that is no coroutine in a thread: these are coroutines to save that.
async def _app_context(request: Request) -> AppContext:
    return app_context(request.scope)


async def _links(request: Request) -> Links:
    return request_links(request)


async def require_admin(
    request: Request,
    _: Annotated[HTTPAuthorizationCredentials | None, Security(_ADMIN_BEARER)],
) -> AdminContext:
    """Return the context of the operator who calls. Raises as `check_operator`."""
    return await check_operator(request)


def tenant_with(scope: Scope) -> Callable[[Request], Awaitable[str]]:
    """Return a dependency: the tenant's name, if its live key may act within `scope`."""

    async def authenticate(request: Request) -> str:
        return await authenticate_tenant(request, scope)

    return authenticate


@dataclass(frozen=True, slots=True)
class WebhookManager:
    """The caller of an operation that changes or sends webhooks: its tenant, and the audit log.

    The actor is the tenant's key, and the person who uses it in the console if that is known.
    """

    tenant: str
    audit: AdminContext


def webhook_manager(rate: CallRate) -> Callable[[Request], Awaitable[WebhookManager]]:
    """Return a dependency: the caller, if its live key has the scope `webhooks`."""

    async def authenticate(request: Request) -> WebhookManager:
        credential, context = request_credential(request), app_context(request.scope)
        await context.stores.jobs.authenticate(credential, Scope.WEBHOOKS, rate)
        audit = replace(
            context.admin,
            actor=credential.actor,
            address=credential.address,
            tenant=credential.tenant,
        )
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
