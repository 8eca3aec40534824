"""The service over a real Redis: the cost of a submit, and answers during an outage."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

import pytest

from core.clock import SystemClock
from core.observability.events import Event
from core.settings.definitions import RedisPolicy
from core.store.client import RedisClient, build_connection_pool
from core.store.scripts import LuaScripts, load_scripts
from core.store.stores import open_stores
from service.app import create_app
from service.composition import (
    build_app_context,
    open_app_context,
)
from service.context import AppContext
from service.settings import ServiceSettings
from simulator.private_redis import PrivateRedis
from tests.support.app import KLING_INPUT, KLING_PATH
from tests.support.service import BASE, key_of, open_caller, settings_for


@dataclass
class CountedResources:
    """A context and the Redis client behind it."""

    wire: RedisClient
    resources: AppContext


class NoMetrics:
    """Renders nothing."""

    content_type = "text/plain"

    async def render(self) -> bytes:
        return b""


def open_counted(
    settings: ServiceSettings, policy: RedisPolicy, events: list[Event]
) -> CountedResources:
    """The real stores without background refreshes, so that every round trip is a handler's."""
    wire = RedisClient(build_connection_pool(policy, "test"))
    stores = open_stores(wire, LuaScripts(wire, load_scripts()), SystemClock())
    resources = build_app_context(settings, stores, NoMetrics(), events.append)
    return CountedResources(wire, resources)


async def test_an_accept_is_one_command_and_one_round_trip(
    redis_flushed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_for(redis_flushed, monkeypatch)
    key = await key_of(settings)
    counted = open_counted(settings, settings.redis, [])

    @asynccontextmanager
    async def opened() -> AsyncIterator[AppContext]:
        async with counted.wire:
            yield counted.resources

    async with open_caller(create_app(opened), key) as caller:
        await caller.post(KLING_PATH, json=KLING_INPUT)  # loads the script
        costs: dict[str, tuple[int, int]] = {}
        for name, call in {
            "accept": partial(caller.post, KLING_PATH, json=KLING_INPUT),
            "refuse": partial(caller.post, KLING_PATH, json={}),
        }.items():
            await call()
            before = counted.wire.round_trips, counted.wire.commands
            await call()
            costs[name] = counted.wire.round_trips - before[0], counted.wire.commands - before[1]

    assert costs == {"accept": (1, 1), "refuse": (1, 1)}


async def test_a_job_s_way_through_the_real_store(
    redis_flushed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_for(redis_flushed, monkeypatch)
    key, other = await key_of(settings), await key_of(settings, "other-team")
    events: list[Event] = []
    async with open_caller(
        create_app(partial(open_app_context, settings, events.append)), key
    ) as caller:
        accepted = (await caller.post(KLING_PATH, json=KLING_INPUT)).json()
        root = accepted["status_url"].removesuffix("/status").removeprefix(BASE)

        assert (await caller.get(f"{root}/status")).json()["status"] == "in_queue"
        assert (await caller.get(f"{root}/result")).json()["billed"] == "no"
        assert (await caller.get(root)).json()["timeline"][0]["what"] == "admitted"
        stranger = {"authorization": f"Bearer {other}"}
        for path in ("", "/status", "/result"):
            assert (await caller.get(f"{root}{path}", headers=stranger)).status_code == 404
        assert (await caller.post(f"{root}/cancel", headers=stranger)).status_code == 404

        assert (await caller.post(f"{root}/cancel")).json()["outcome"] == "cancelled"
        assert (await caller.post(f"{root}/cancel")).json()["outcome"] == "cancelled"
        assert (await caller.get(f"{root}/status")).json()["status"] == "cancelled"


@pytest.mark.parametrize("turns", [0, 1, 2, 5, 10, 20, 50, 100])
async def test_a_service_that_is_stopped_while_it_starts_stops(
    redis_flushed: str, monkeypatch: pytest.MonkeyPatch, turns: int
) -> None:
    settings = settings_for(redis_flushed, monkeypatch)
    async with asyncio.timeout(5):
        for more in range(20):
            async with open_app_context(settings, lambda _: None):
                for _ in range(turns + more):
                    await asyncio.sleep(0)


async def test_redis_goes_and_comes_back(
    own_redis: PrivateRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_for(own_redis.url, monkeypatch)
    key = await key_of(settings)
    app = create_app(partial(open_app_context, settings, lambda _: None))
    async with open_caller(app, key) as caller:
        assert (await caller.post(KLING_PATH, json=KLING_INPUT)).status_code == 202
        own_redis.stop()
        refused = [await caller.post(KLING_PATH, json=KLING_INPUT) for _ in range(3)]
        read = await caller.get("/v1/requests/req_1/status")
        ready = await caller.get("/readyz")
        alive = await caller.get("/healthz")
        own_redis.restart()
        again = await caller.post(KLING_PATH, json=KLING_INPUT)

    assert [answer.status_code for answer in (*refused, read, ready)] == [503] * 5
    for answer in (*refused, read):
        # None where the command may have been executed: a submit without a key is not repeated.
        assert ("retry-after" in answer.headers) is answer.json()["retryable"]
    assert ready.json()["checks"]["redis"] == "no_answer"
    assert alive.status_code == 200
    assert again.status_code == 202


async def test_a_service_may_start_before_its_redis(
    own_redis: PrivateRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_for(own_redis.url, monkeypatch)
    key = await key_of(settings)
    own_redis.stop()
    app = create_app(partial(open_app_context, settings, lambda _: None))
    async with open_caller(app, key) as caller:
        assert (await caller.post(KLING_PATH, json=KLING_INPUT)).status_code == 503
        own_redis.restart()
        assert (await caller.post(KLING_PATH, json=KLING_INPUT)).status_code == 202
