"""Who calls, at which address, with which JSON body: what groups of routes begin with."""

from typing import Any

from starlette.requests import Request

from core.documents import Links
from core.tenants import Credential, Scope
from service.auth import presented
from service.bodies import check_content_type, read_body, read_object, refuse_twins
from service.exchange import exchange_of, resources_of
from service.links import links_of


def key_of(request: Request) -> Credential:
    """The key that is presented, not yet looked up. Raises `Unauthenticated`."""
    credential = presented(request.headers)
    exchange_of(request.scope).tenant = credential.tenant
    return credential


async def tenant_calling(request: Request, scope: Scope) -> str:
    """The tenant whose live key may act within `scope`.

    Raises `Unauthenticated`, `NotPermitted`.
    """
    credential = key_of(request)
    await resources_of(request.scope).jobs.authenticate(credential, scope)
    return credential.tenant


def links_for(request: Request) -> Links:
    """Where the caller finds jobs."""
    return links_of(request.scope, resources_of(request.scope).policy.public_url)


async def json_body(request: Request) -> dict[str, Any]:
    """The JSON object that was sent; no body at all is an empty one. Raises `MalformedRequest`."""
    check_content_type(request.headers)
    body = await read_body(request, resources_of(request.scope).policy.body)
    if not body:
        return {}
    value = read_object(body)
    refuse_twins(body)
    return value
