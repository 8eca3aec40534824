"""Security headers of every response, and imports that must stay out."""

import re
from dataclasses import replace
from datetime import timedelta
from typing import Final

import httpx
import pytest
from pydantic import SecretStr
from starlette.types import Receive, Scope, Send

from core.settings.definitions import ProcessSettings
from core.store.client import build_connection_pool, build_retrying_pool
from service.app import create_app
from service.context import ADMIN_LISTENER
from service.http.middleware import GatewayMiddleware
from service.settings import ServiceSettings
from tests.support.app import AppHarness

ANYWHERE: Final = ("/healthz", "/docs", "/openapi.json", "/nowhere")
PRIVATE: Final = ("/v1/models", "/v1/requests/req_1", "/admin/v1/tenants", "/admin/v1/nowhere")


@pytest.mark.parametrize("path", [*ANYWHERE, *PRIVATE])
@pytest.mark.parametrize("method", ["GET", "OPTIONS", "DELETE"])
async def test_every_answer_is_hardened(caller: httpx.AsyncClient, method: str, path: str) -> None:
    headers = (await caller.request(method, path)).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["x-request-id"]
    assert "server" not in headers
    assert not [name for name in headers if name.startswith("access-control-")]
    if path in PRIVATE:
        assert headers["cache-control"] == "no-store"
        assert "default-src 'none'" in headers["content-security-policy"]


async def test_a_page_says_itself_what_it_may_load(caller: httpx.AsyncClient) -> None:
    policy = (await caller.get("/docs")).headers["content-security-policy"]
    assert "connect-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy


@pytest.mark.parametrize(("listener", "status"), [(False, 404), (True, 401)])
async def test_operators_calls_belong_to_their_own_listener(
    app: AppHarness, *, listener: bool, status: int
) -> None:
    policy = replace(app.resources.policy, own_admin_listener=True, admin_token=SecretStr("t" * 32))
    app.resources = replace(app.resources, policy=policy)

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        state = {"resources": app.resources} | ({ADMIN_LISTENER: True} if listener else {})
        await create_app(app._open)({**scope, "state": state}, receive, send)

    transport = httpx.ASGITransport(serve)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway.test") as caller:
        assert (await caller.get("/admin/v1/tenants")).status_code == status


DOCS: Final = ("/docs", "/openapi.json", "/docs/swagger.js", "/docs/assets/swagger-ui-bundle.js")


async def test_the_reference_needs_no_inline_script(caller: httpx.AsyncClient) -> None:
    page = (await caller.get("/docs")).text
    assert "<style" not in page
    assert "style=" not in page
    assert re.findall(r"<script(?![^>]* src=)", page) == []
    sources = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert {(await caller.get(source)).status_code for source in sources} == {200}


@pytest.mark.parametrize("path", DOCS)
async def test_the_reference_can_be_switched_off(app: AppHarness, path: str) -> None:
    async with app.client() as caller:
        assert (await caller.get(path)).status_code == 200
    policy = replace(app.resources.policy, docs=False)
    app.resources = replace(app.resources, policy=policy)
    async with app.client() as caller:
        answer = await caller.get(path)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_no_middleware_stands_between_the_edge_and_the_routes(app: AppHarness) -> None:
    application = create_app(app._open)
    assert application.user_middleware == []
    assert isinstance(application.build_middleware_stack(), GatewayMiddleware)


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Bearer x", "Basic t", "bearer tt"])
async def test_the_operators_token_must_be_exact(app: AppHarness, header: str) -> None:
    app.enable_admin_api("t")
    async with app.client() as caller:
        for sent, status in ((header, 401), ("Bearer t", 200)):
            answer = await caller.get("/admin/v1/limits", headers={"authorization": sent})
            assert answer.status_code == status


@pytest.mark.parametrize("source", [build_connection_pool, build_retrying_pool])
def test_no_call_to_redis_waits_for_ever(source: type) -> None:
    policy = ProcessSettings().redis
    told = source(policy, "test").connection_kwargs
    for name, most in (("socket_timeout", 5), ("socket_connect_timeout", 5)):
        assert 0 < told[name] <= most


def test_every_wait_on_a_caller_is_bounded() -> None:
    settings = ServiceSettings()
    for span in (settings.body_timeout, settings.max_wait, settings.shutdown_timeout):
        assert timedelta(0) < span <= timedelta(minutes=1)


def test_idle_connections_outlive_those_of_a_balancer_and_waits_end_before_its_timeout() -> None:
    """Balancers and proxies keep connections, and wait for an answer, for 60 s by default."""
    settings = ServiceSettings()
    assert settings.max_wait < timedelta(minutes=1) < settings.keep_alive_timeout
    assert settings.keep_alive_timeout < timedelta(minutes=2)
