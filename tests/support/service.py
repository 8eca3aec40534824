"""A service over a real Redis, in this process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from core.clock import SystemClock
from core.store.client import RedisClient, build_connection_pool
from core.store.scripts import LuaScripts, load_scripts
from core.store.stores import open_stores
from service.composition import (
    build_admin_context,
)
from service.settings import ServiceSettings
from service.tenants.settings import TenantSettings
from service.tenants.tenants import create_tenant

BASE = "http://gateway.test"


def settings_for(url: str, monkeypatch: pytest.MonkeyPatch) -> ServiceSettings:
    """Settings as a process reads them."""
    monkeypatch.setenv("GATEWAY_REDIS_URL", url)
    return ServiceSettings()


async def key_of(settings: ServiceSettings, name: str = "video-team") -> str:
    """Create a tenant and return its key."""
    async with RedisClient(build_connection_pool(settings.redis, "test")) as wire:
        clock = SystemClock()
        stores = open_stores(wire, LuaScripts(wire, load_scripts()), clock)
        desk = build_admin_context(settings, stores, "test", lambda _: None, clock)
        return (await create_tenant(desk, name, TenantSettings())).key


@asynccontextmanager
async def open_caller(app: Any, key: str) -> AsyncIterator[httpx.AsyncClient]:  # noqa: ANN401 - FastAPI
    """Start the app and yield an HTTP client of it."""
    async with app.router.lifespan_context(app) as state:

        async def call(scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI's own
            await app({**scope, "state": dict(state)}, receive, send)

        transport = httpx.ASGITransport(call)
        headers = {"authorization": f"Bearer {key}"}
        async with httpx.AsyncClient(transport=transport, base_url=BASE, headers=headers) as client:
            yield client
