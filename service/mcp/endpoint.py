"""The route `/mcp`: who calls, from where, and with how much; the SDK serves the rest.

Streamable HTTP without sessions: any process of the service answers any request.
"""

from functools import cached_property
from typing import TYPE_CHECKING, Final

from starlette.requests import Request
from starlette.routing import Match, Route
from starlette.types import Message, Receive, Scope, Send

from core.errors import NotFound, NotPermitted, Unauthenticated
from service.callers.user import User
from service.context import app_context
from service.http.authentication import bearer_token, checked_credential
from service.http.operators import log_in_operator, serves_operators
from service.http.request_body import read_body
from service.http.request_context import request_context
from service.parsing.json_body import ValueLimits, check_number_of_values

if TYPE_CHECKING:
    from service.mcp.server import McpServer

PATH: Final = "/mcp"
_KEY_PREFIX: Final = "rcg_"
CALL_VALUES: Final = ValueLimits(5_000, 2_500)
"""Of a call of a tool: the event loop makes and checks them, half a millisecond a thousand."""


class McpEndpoint:
    """The ASGI application of the route. The SDK is imported with the server, by `load`."""

    @cached_property
    def server(self) -> "McpServer":
        """The server; the first access imports the SDK."""
        from service.mcp.server import McpServer  # noqa: PLC0415 - half a second and 18 MiB

        return McpServer()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request. Raises `NotFound` where the server is off."""
        request = Request(scope, receive)
        policy = app_context(scope).policy
        if not policy.mcp.enabled:
            raise NotFound("There is nothing at this address.")
        check_origin(request)
        user = await authenticate(request)
        body = await read_body(request, policy.body_limits)
        # The SDK makes all values, on the event loop.
        owner = request_context(scope).tenant or request_context(scope).client
        bodies = app_context(scope).large_bodies
        await bodies.call(owner, len(body), check_number_of_values, body, CALL_VALUES)
        await self.server.serve(scope, _replay(body, receive), send, user)


class _NamedRoute(Route):
    """A route that the scope names, as FastAPI's do: metrics and logs are by route."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, child = super().matches(scope)
        return match, {**child, "route": self}


def mcp_route(endpoint: McpEndpoint) -> Route:
    """Return the route. Without sessions there is nothing to listen to by GET, nor to DELETE."""
    return _NamedRoute(PATH, endpoint, methods=["POST"], name="mcp", include_in_schema=False)


def check_origin(request: Request) -> None:
    """Raise `NotPermitted` for a page of a browser that may not call.

    MCP, "Transports", 2.0.1: servers must validate `Origin`, against DNS rebinding. `Host` is no
    help there: after a rebinding both are the attacker's.
    """
    origin = request.headers.get("origin")
    policy = app_context(request.scope).policy
    allowed = {*policy.mcp.allowed_origins, policy.links.public_url}
    if origin is not None and origin not in allowed:
        raise NotPermitted("Pages of this origin may not call. Allow it by the setting.")


async def authenticate(request: Request) -> User:
    """Return who calls: a tenant by its key, or an operator. Raises `Unauthenticated`."""
    token = bearer_token(request.headers) or ""
    if token.startswith(_KEY_PREFIX) or not serves_operators(request):
        return User(await checked_credential(request, None))
    if not token:
        raise Unauthenticated
    context, address = app_context(request.scope), request_context(request.scope).client
    return User(await log_in_operator(context, token, address))


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return ASGI's receive: the body that was read, then what the caller does."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return messages.pop() if messages else await receive()

    return replay
