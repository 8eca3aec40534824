import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from service.app import ROUTERS, create_app, fast_routes
from service.http.fast_router import FastRouter
from tests.support.app import open_app

ROOT = Path(__file__).parents[3]
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


async def test_without_the_console_its_pages_do_not_exist() -> None:
    app = create_app(open_app()._open, has_console=False)
    async with app.router.lifespan_context(app) as state:

        async def serve(scope: Scope, receive: Receive, send: Send) -> None:
            await app({**scope, "state": dict(state or {})}, receive, send)

        transport = httpx.ASGITransport(serve)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway.test") as caller:
            assert (await caller.get("/console/sign-in")).status_code == 404
            assert (await caller.get("/healthz")).status_code == 200


def test_no_route_is_built_a_second_time_for_the_application() -> None:
    own = {id(route) for router in ROUTERS for route in router.routes}
    assert own <= {id(route) for route in create_app(open_app()._open).routes}


@pytest.mark.parametrize("command", ["serve", "work"])
def test_a_start_imports_neither_pages_nor_what_colours_a_terminal(command: str) -> None:
    heavy = {"jinja2", "structlog", "mcp", "puremagic", "tinytag"}
    # httpx, which a worker needs, imports rich.
    heavy |= {"serve": {"obstore", "worker", "rich"}, "work": {"service", "fastapi"}}[command]
    program = f"""\
import sys
import cli.commands.processes.{command}
print(sorted({heavy} & set(sys.modules)))
"""
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "[]"
