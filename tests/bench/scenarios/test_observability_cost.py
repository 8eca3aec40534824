"""The share of metrics and logs in a request's CPU time, in the real service over Redis."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import orjson
import pytest

from core.clock import SystemClock
from core.observability.events import Emit, Event
from core.observability.logs import configure_logging
from core.observability.prometheus import MetricsRegistry
from core.store.client import RedisClient, build_connection_pool
from core.store.scripts import LuaScripts, load_scripts
from core.store.stores import open_stores
from service.app import create_app
from service.composition import build_admin_context, open_app_context
from service.context import AppContext
from service.settings import ServiceSettings
from service.tenants.settings import TenantSettings
from service.tenants.tenants import create_tenant
from tests.support.app import KLING_INPUT, KLING_PATH

CALLS: Final = 150
ROUNDS: Final = 15
BODY: Final = orjson.dumps(KLING_INPUT)
MAX_RATIO: Final = 1.0
"""Metrics and logs never double the cost of a call, even on a busy machine (idle: a fifth)."""


@dataclass
class SwitchableEmit:
    """An `Emit` whose metrics and log lines can be turned on and off."""

    metrics: Emit
    log: Emit
    counts: bool = True
    writes: bool = True

    def __call__(self, event: Event) -> None:
        if self.counts:
            self.metrics(event)
        if self.writes:
            self.log(event)


MODES: Final = {"neither": (False, False), "figures": (True, False), "both": (True, True)}


@dataclass
class DirectAsgiCaller:
    """Calls the application as a server does, so that no client and no socket is measured."""

    app: Any
    state: dict[str, Any]
    key: str

    async def __call__(self, method: str, path: str, body: bytes = b"") -> int:
        """The status."""
        statuses: list[int] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        await self.app(self._scope(method, path), receive, send)
        return statuses[0]

    def _scope(self, method: str, path: str) -> dict[str, Any]:
        headers = {"authorization": f"Bearer {self.key}", "content-type": "application/json"}
        return {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 8000),
            "state": dict(self.state),
        }


@asynccontextmanager
async def open_service(
    settings: ServiceSettings, key: str, log: Emit
) -> AsyncIterator[tuple[DirectAsgiCaller, SwitchableEmit]]:
    """The service as a process opens it, with a switchable `Emit`."""
    kept: list[SwitchableEmit] = []

    @asynccontextmanager
    async def opened() -> AsyncIterator[AppContext]:
        async with open_app_context(settings, lambda _: None) as resources:
            figures: Any = resources.metrics
            kept.append(SwitchableEmit(figures, log))
            yield replace(resources, emit=kept[0])

    app = create_app(opened)
    async with app.router.lifespan_context(app) as state:
        yield DirectAsgiCaller(app, dict(state or {}), key), kept[0]


async def cpu_per_call(caller: DirectAsgiCaller, method: str, path: str, body: bytes) -> float:
    """CPU seconds of this process for each call."""
    began = time.process_time()
    for _ in range(CALLS):
        assert await caller(method, path, body) in {200, 202}
    return (time.process_time() - began) / CALLS


@pytest.fixture
def settings(redis_flushed: str, monkeypatch: pytest.MonkeyPatch) -> ServiceSettings:
    """Settings as a process reads them; round trips are counted only with metrics."""
    monkeypatch.setenv("GATEWAY_REDIS_URL", redis_flushed)
    return ServiceSettings()


@pytest.mark.bench
async def test_metrics_and_logs_are_a_small_part_of_a_request(
    settings: ServiceSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with RedisClient(build_connection_pool(settings.redis, "bench")) as wire:
        clock = SystemClock()
        stores = open_stores(wire, LuaScripts(wire, load_scripts()), clock)
        desk = build_admin_context(settings, stores, "bench", lambda _: None, clock)
        key = (await create_tenant(desk, "bench", TenantSettings())).key
    counting = MetricsRegistry.__call__
    found: dict[tuple[str, str], list[float]] = {}
    with (tmp_path / "log").open("w") as lines:
        log = configure_logging("json", "INFO", lines)
        async with open_service(settings, key, log) as (caller, telling):
            for what, call in EVENTS_PER_CALL.items():
                await cpu_per_call(caller, *call)
                for _ in range(ROUNDS):
                    for mode, (telling.counts, telling.writes) in MODES.items():
                        counted = counting if telling.counts else lambda *_: None
                        monkeypatch.setattr(MetricsRegistry, "__call__", counted)
                        found.setdefault((what, mode), []).append(await cpu_per_call(caller, *call))
    print()
    for what in EVENTS_PER_CALL:
        cost = {mode: min(found[what, mode]) * 1e6 for mode in MODES}
        own = ", ".join(f"{mode} {each:.0f}" for mode, each in cost.items())
        print(f"{what}: CPU in microseconds a call, least of {ROUNDS}x{CALLS}: {own}")
        assert cost["both"] - cost["neither"] <= MAX_RATIO * cost["neither"]


EVENTS_PER_CALL: Final = {
    "submit": ("POST", KLING_PATH, BODY),
    "usage": ("GET", "/v1/usage", b""),
}
