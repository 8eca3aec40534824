"""Routes a request from the middleware to its handler with one match and one call.

FastAPI's own path (five middlewares, two exit stacks, two exception wrappers) serves the requests
that match no route here.
"""

import re
from collections.abc import Callable, Sequence
from typing import Final

from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from core.errors import MalformedRequest

_HTTP: Final = "http"
MatchPath = Callable[[str], re.Match[str] | None]


class FastRouter:
    """Serves `routes` directly, and passes every other request to `fallback`."""

    def __init__(self, routes: Sequence[APIRoute], fallback: ASGIApp) -> None:
        """The first matching route wins. Path parameters are passed as text: no converters."""
        self._fallback = fallback
        self._routes: dict[str, list[tuple[MatchPath, APIRoute]]] = {}
        for route in routes:
            for method in route.methods or ():
                self._routes.setdefault(method, []).append((route.path_regex.match, route))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != _HTTP or not self._match_route(scope):
            await self._fallback(scope, receive, send)
            return
        try:
            response = await scope["endpoint"](Request(scope, receive, send))
        except HTTPException as error:
            raise MalformedRequest("The request is not readable.") from error
        await response(scope, receive, send)

    def _match_route(self, scope: Scope) -> bool:
        """Return whether a route matches, and put it into `scope` as Starlette does."""
        # Starlette's own router strips the prefix of a proxy.
        if scope.get("root_path"):
            return False
        path = scope["path"]
        for match_path, route in self._routes.get(scope["method"], ()):
            if match := match_path(path):
                scope["path_params"] = match.groupdict()
                scope["endpoint"], scope["route"] = route.endpoint, route
                return True
        return False
