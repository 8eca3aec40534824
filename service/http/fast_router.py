"""The short way from the edge to an endpoint: one look at the address, one call, nothing between.

FastAPI's own way (five middlewares, two exit stacks, two exception wrappers) is taken by whatever
has no endpoint here. Knows no endpoint by name.
"""

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from core.errors import MalformedRequest

_HTTP: Final = "http"


@dataclass(frozen=True, slots=True)
class FastRoute:
    """One endpoint, and what opens it."""

    method: str
    match: Callable[[str], re.Match[str] | None]
    handler: Callable[[Request], Awaitable[Response]]
    route: APIRoute


class FastRouter:
    """Wraps an application that knows the same endpoints, and all else."""

    def __init__(self, routes: Sequence[APIRoute], fallback: ASGIApp) -> None:
        """The endpoints of `routes` take a request and give an answer; the first that fits is it.

        Their paths hold texts alone: nothing is converted.
        """
        self._fallback = fallback
        self._routes = tuple(
            FastRoute(method, route.path_regex.match, route.endpoint, route)
            for route in routes
            for method in route.methods or ()
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one exchange."""
        if scope["type"] != _HTTP or not self._match_route(scope):
            await self._fallback(scope, receive, send)
            return
        try:
            response = await scope["endpoint"](Request(scope, receive, send))
        except HTTPException as error:
            raise MalformedRequest("The request is not readable.") from error
        await response(scope, receive, send)

    def _match_route(self, scope: Scope) -> bool:
        """Whether an endpoint was found; it stands in the scope then, as Starlette has it."""
        # Behind a proxy's prefix the router itself knows what to leave out.
        if scope.get("root_path"):
            return False
        method, path = scope["method"], scope["path"]
        for door in self._routes:
            if door.method == method and (match := door.match(path)):
                scope["path_params"] = match.groupdict()
                scope["endpoint"], scope["route"] = door.handler, door.route
                return True
        return False
