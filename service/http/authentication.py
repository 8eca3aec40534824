"""Authentication by bearer token: the credential of a request."""

from typing import Any, Final

from starlette.datastructures import Headers
from starlette.requests import Request

from core.errors import Unauthenticated
from core.representations.jobs import Links, OutputLinks
from core.tenants.api_keys import Credential, Scope, parse_api_key
from service.context import app_context
from service.http.request_body import check_content_type, read_body
from service.http.request_context import build_links, request_context
from service.parsing.json_body import BodyLimits, parse_object, reject_duplicate_keys

_SCHEME: Final = "bearer"


SIGNED_IN: Final = "gateway.signed_in"
"""The scope's entry for a caller whom the console has authenticated. No request can set it."""


def bearer_token(headers: Headers) -> str | None:
    """Return the bearer token, or None.

    Two `Authorization` headers are none: a proxy might have checked the other one.
    """
    fields = headers.getlist("authorization")
    if len(fields) != 1:
        return None
    scheme, _, token = fields[0].partition(" ")
    return token.strip() if scheme.lower() == _SCHEME else None


def request_credential(request: Request) -> Credential:
    """Return the request's API key, well-formed but not looked up yet. Raises `Unauthenticated`."""
    current = request_context(request.scope)
    credential = _presented_credential(request, current.client)
    current.tenant = credential.tenant
    return credential


def _presented_credential(request: Request, address: str) -> Credential:
    """Parse the API key of `Authorization: Bearer …` (RFC 6750), sent from `address`."""
    signed_in = request.scope.get(SIGNED_IN)
    if isinstance(signed_in, Credential):
        return signed_in
    key = bearer_token(request.headers)
    if key is None:
        raise Unauthenticated
    return parse_api_key(key, address)


async def checked_credential(request: Request, scope: Scope | None) -> Credential:
    """Return the request's API key, which is valid and has `scope`, or was so seconds ago.

    Called before a body is read. Raises `Unauthenticated`, `NotPermitted`.
    """
    current = request_context(request.scope)
    credential = _presented_credential(request, current.client)
    await app_context(request.scope).known_keys.check(credential, scope)
    current.tenant = credential.tenant
    return credential


async def authenticate_tenant(request: Request, scope: Scope) -> str:
    """Return the name of the tenant, if its key is valid and has `scope`.

    Raises `Unauthenticated`, `NotPermitted`.
    """
    credential = request_credential(request)
    await app_context(request.scope).stores.jobs.authenticate(credential, scope)
    return credential.tenant


def request_links(request: Request) -> Links:
    """Return the links of the API at the address that the caller uses."""
    scope = request.scope
    public_url = app_context(scope).policy.links.public_url
    return build_links(scope, request_context(scope).forwarded, public_url)


def output_links(request: Request) -> OutputLinks:
    """Return the links to kept outputs at the address that the caller uses."""
    return OutputLinks(request_links(request).base, app_context(request.scope).clock.now())


async def read_json_body(request: Request, max_bytes: int) -> dict[str, Any]:
    """Return the JSON object of the body; an empty body is `{}`. Raises `MalformedRequest`."""
    check_content_type(request.headers)
    timeout = app_context(request.scope).policy.body_limits.timeout
    body = await read_body(request, BodyLimits(max_bytes, timeout))
    if not body:
        return {}
    value = parse_object(body)
    reject_duplicate_keys(body, value)
    return value
