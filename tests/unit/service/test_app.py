import httpx
from starlette.types import Receive, Scope, Send

from service.app import create_app, fast_routes
from service.http.fast_router import FastRouter
from tests.support.app import open_app

HOT_PATH = {"submit", "status", "result", "detail", "cancel", "events", "submit_batch"}


async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
    """Stand for FastAPI's own routing, which the hot path must not reach."""
    raise AssertionError(scope["path"], receive, send)


async def test_the_hot_path_is_served_without_the_frameworks_routing() -> None:
    routes = fast_routes(create_app(open_app()._open))
    assert {route.name for route in routes} >= HOT_PATH | {"healthz"}
    transport = httpx.ASGITransport(FastRouter(routes, refuse))
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway.test") as caller:
        assert (await caller.get("/healthz")).json() == {"status": "ok"}
