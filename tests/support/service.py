"""A service over a real Redis, in process."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


BASE = "http://gateway.test"


def settings_for(url: str, monkeypatch: pytest.MonkeyPatch) -> ServiceSettings:
    """Settings as a process would read them."""
    monkeypatch.setenv("GATEWAY_REDIS_URL", url)
    return ServiceSettings()


async def key_of(settings: ServiceSettings, name: str = "video-team") -> str:
    """A new tenant's key."""
    async with RedisClient(build_connection_pool(settings.redis, "test")) as wire:
        stores = open_stores(wire, LuaScripts(wire, load_scripts()), SystemClock())
        desk = build_admin_context(settings, stores, "test", lambda _: None)
        return (await create_tenant(desk, name, TenantSettings())).key


@asynccontextmanager
async def open_caller(app: Any, key: str) -> AsyncIterator[httpx.AsyncClient]:  # noqa: ANN401 - FastAPI
    """A caller of a running app."""
    async with app.router.lifespan_context(app) as state:

        async def call(scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI's own
            await app({**scope, "state": dict(state)}, receive, send)

        transport = httpx.ASGITransport(call)
        headers = {"authorization": f"Bearer {key}"}
        async with httpx.AsyncClient(transport=transport, base_url=BASE, headers=headers) as client:
            yield client
