"""Builds the application: routes, middleware, and a lifespan that opens the context."""

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final

from fastapi import APIRouter, FastAPI
from fastapi.middleware.asyncexitstack import AsyncExitStackMiddleware
from fastapi.routing import iter_route_contexts
from starlette.exceptions import HTTPException
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import ASGIApp, Scope

from core.errors import GatewayError, MalformedRequest, NotFound
from service.api import balance, files, health, models, usage
from service.api.admin import archive as admin_archive
from service.api.admin import audit as admin_audit
from service.api.admin import circuits as admin_circuits
from service.api.admin import jobs as admin_jobs
from service.api.admin import limits_and_pauses as admin_limits_and_pauses
from service.api.admin import models as admin_models
from service.api.admin import operators as admin_operators
from service.api.admin import tenants as admin_tenants
from service.api.admin import webhooks as admin_webhooks
from service.api.batches import routes as batch_routes
from service.api.docs import add_docs_routes
from service.api.jobs import events, outputs, requests, submit
from service.api.openapi_document import TITLE
from service.api.webhooks import deliveries
from service.api.webhooks import endpoints as webhook_endpoints
from service.callers.api_calls import operations_of
from service.context import AppContext
from service.errors import MethodNotAllowed
from service.http.fast_router import FastRouter
from service.http.middleware import GatewayMiddleware
from service.http.strict_route import FastRoute
from service.mcp.endpoint import McpEndpoint, mcp_route

OpenAppContext = Callable[[], AbstractAsyncContextManager[AppContext]]

ROUTERS: Final = (
    submit.router,
    requests.fast_router,
    batch_routes.fast_router,
    events.router,
    outputs.router,
    health.router,
    health.check_router,
    requests.router,
    models.router,
    files.fast_router,
    files.router,
    batch_routes.router,
    usage.router,
    balance.router,
    deliveries.router,
    webhook_endpoints.router,
    admin_webhooks.router,
    admin_tenants.router,
    admin_operators.router,
    admin_audit.router,
    admin_limits_and_pauses.router,
    admin_circuits.router,
    admin_models.router,
    admin_archive.router,
    admin_jobs.router,
)


def create_app(open_context: OpenAppContext, *, has_console: bool = True) -> FastAPI:
    """Return the application. Nothing is opened before its lifespan begins.

    With `has_console` it has the console's routes, which still need the console to be on.
    """
    mcp = McpEndpoint()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, AppContext]]:
        async with open_context() as resources:
            if resources.policy.mcp.enabled:
                # Before the first request, which would otherwise hold up all others.
                mcp.server.describe(app.routes)
            yield {"resources": resources}

    app = _GatewayApp(
        title=TITLE,
        openapi_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    _add_routes(app, ROUTERS)
    app.state.operations = operations_of(app)
    if has_console:
        _add_console(app)
    app.router.routes.append(mcp_route(mcp))
    add_docs_routes(app)
    return app


def _add_console(app: FastAPI) -> None:
    from service.console.routes.all_routes import ROUTERS as CONSOLE_ROUTERS  # noqa: PLC0415 - heavy: a fifteenth of a start and 4 MB

    _add_routes(app, CONSOLE_ROUTERS)


def _add_routes(app: FastAPI, routers: Iterable[APIRouter]) -> None:
    """Add the routes of `routers` as they are: no option of the application applies to them.

    `include_router` would build each a second time: its parameters, models and their schemas.
    """
    for router in routers:
        app.router.routes.extend(router.routes)


class _GatewayApp(FastAPI):
    """FastAPI with the gateway's own middleware in place of the default stack."""

    def build_middleware_stack(self) -> ASGIApp:
        """Build the stack, with the first request. `GatewayMiddleware` handles all errors."""
        handlers = {HTTPException: _handle_http_exception}
        routed = AsyncExitStackMiddleware(self.router)
        return GatewayMiddleware(
            FastRouter(fast_routes(self), ExceptionMiddleware(routed, handlers))
        )


def fast_routes(app: FastAPI) -> list[FastRoute]:
    """Return the routes that are served without FastAPI's routing, also of included routers."""
    known = (context.original_route for context in iter_route_contexts(app.routes))
    return [route for route in known if isinstance(route, FastRoute)]


async def _handle_http_exception(request: Request, error: Exception) -> Response:
    """Turn the errors of Starlette's router into problems; answer OPTIONS."""
    if not isinstance(error, HTTPException):
        raise error
    allow = allowed_methods(request.app, request.scope)
    if error.status_code == _METHOD_NOT_ALLOWED and request.method == "OPTIONS":
        return Response(status_code=204, headers={"allow": allow})
    raise _routing_error(error, allow) from error


def _routing_error(error: HTTPException, allow: str) -> GatewayError:
    match error.status_code:
        case 404:
            return NotFound("There is nothing at this address.")
        case 405:
            return MethodNotAllowed(allow)
        case _:
            return MalformedRequest("The request is not readable.")


def allowed_methods(app: FastAPI, scope: Scope) -> str:
    """The `Allow` header of a path: of every route that has it, not only of the first.

    An address of its own may fit another's template too; its methods are not meant there.
    """
    known = iter_route_contexts(app.routes)
    routes = [route for route in known if route.matches(dict(scope))[0] is not Match.NONE]
    own = [route for route in routes if getattr(route, "path", None) == scope["path"]]
    methods = {"OPTIONS"}
    for route in own or routes:
        methods |= getattr(route, "methods", None) or {"GET"}
    return ", ".join(sorted(methods | ({"HEAD"} if "GET" in methods else set())))


_METHOD_NOT_ALLOWED: Final = 405
