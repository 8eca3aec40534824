"""Authentication by bearer token: the credential of a request."""

from typing import Any, Final

from starlette.datastructures import Headers
from starlette.requests import Request

from core.errors import Unauthenticated
from core.representations.jobs import Links
from core.tenants.api_keys import Credential, Scope, read_key
from service.context import resources_of
from service.http.request_body import check_content_type, read_body
from service.http.request_context import exchange_of, links_of
from service.parsing.json_body import read_object, refuse_twins

_SCHEME: Final = "bearer"


def presented(headers: Headers) -> Credential:
    """The tenant key of `Authorization: Bearer …` (RFC 6750). Raises `Unauthenticated`."""
    key = bearer(headers)
    if key is None:
        raise Unauthenticated
    return read_key(key)


def bearer(headers: Headers) -> str | None:
    """What the `Authorization` field presents as bearer, if it does.

    Two such fields present nothing: who stands between might have judged the other one.
    """
    fields = headers.getlist("authorization")
    if len(fields) != 1:
        return None
    scheme, _, token = fields[0].partition(" ")
    return token.strip() if scheme.lower() == _SCHEME else None


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
