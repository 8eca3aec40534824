"""Each test of this folder runs twice: on the in-memory stores, and on a real Redis."""

from collections.abc import AsyncIterator
from typing import Final

import pytest

from core.store.identity import StorePosition
from core.tenants.api_keys import ApiKey
from core.tenants.tenant import Tenant
from tests.contract.shared_tenants import open_coalescing
from tests.support.backends import StoreBackend, memory_backend, redis_backend
from tests.support.clock import FakeClock
from tests.support.coalescing import CoalescingHarness
from tests.support.redis import redis_client
from tests.support.store_harness import BACKENDS, StoreHarness, open_harness

TENANTS: Final = ("ada", "bob")


@pytest.fixture(params=["memory", "redis"])
async def backend(request: pytest.FixtureRequest) -> AsyncIterator[StoreBackend]:
    """Stores with two tenants, `ada` and `bob`, with one key each.

    A test may ask for `redis-parts`: a batch is then admitted item by item.
    """
    clock = FakeClock()
    if request.param == "memory":
        yield await _with_tenants(memory_backend(clock))
        return
    login: str = request.getfixturevalue("gateway_url")
    admin: str = request.getfixturevalue("redis_url")
    async with redis_client(login) as wire, redis_client(admin) as probing:
        of_one = {"max_part_items": 1} if request.param == "redis-parts" else {}
        yield await _with_tenants(redis_backend(clock, wire, probing=probing, **of_one))


async def _with_tenants(backend: StoreBackend) -> StoreBackend:
    now = backend.clock.now()
    await backend.identity.create(StorePosition("store"))
    for name in TENANTS:
        assert await backend.tenants.create(Tenant(name, now), ApiKey(f"digest-{name}", name, now))
    return backend


@pytest.fixture(params=BACKENDS)
async def coalescing(request: pytest.FixtureRequest) -> AsyncIterator[CoalescingHarness]:
    """Tenants with identical requests: one alone, two that share. Checks counters at the end."""
    async with open_coalescing(request) as flight:
        yield flight


@pytest.fixture(params=BACKENDS)
async def harness(request: pytest.FixtureRequest) -> AsyncIterator[StoreHarness]:
    """Stores without tenants, with a clock and calls for tests of limits and money."""
    async with open_harness(request.param, request) as harness:
        yield harness
