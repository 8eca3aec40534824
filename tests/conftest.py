"""What every tier has: a scrubbed environment, a private Redis. The pure ones have no network."""

import gc
import os
from collections.abc import Iterator
from typing import Final

import pytest
import pytest_socket

from simulator.private_redis import PrivateRedis, private_redis

# What a developer's shell may hold must not change what a test sees.
CLEARED_PREFIXES: Final = ("GATEWAY_", "RUNCOMFY_")
NO_SOCKET_TIERS: Final = ("tests/unit/", "tests/property/")


@pytest.fixture(scope="session", autouse=True)
def _clean_environment() -> Iterator[None]:
    # Once a run: at each test it cost as much as a pure test itself.
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(CLEARED_PREFIXES)]:
            patch.delenv(name)
        yield


def pytest_collection_finish() -> None:
    """What was collected stays: let the collector of garbage not walk it again at each turn."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def _pure_tests_open_no_socket(request: pytest.FixtureRequest) -> Iterator[None]:
    if not request.node.nodeid.startswith(NO_SOCKET_TIERS):
        yield
        return
    # asyncio wakes its loop through a socket pair, which is a unix socket.
    pytest_socket.disable_socket(allow_unix_socket=True)
    yield
    pytest_socket.enable_socket()


@pytest.fixture(scope="session")
def redis_server() -> Iterator[PrivateRedis]:
    """One private Redis for the whole run; never the developer's own, since tests flush it."""
    with private_redis() as server:
        yield server


@pytest.fixture(scope="session")
def redis_url(redis_server: PrivateRedis) -> str:
    """The URL of the run's private Redis. What an earlier test left may still be in it."""
    return redis_server.url


@pytest.fixture
def redis_flushed(redis_server: PrivateRedis) -> str:
    """The URL of the run's private Redis, emptied (data and cached scripts) for this test."""
    redis_server.flush()
    return redis_server.url


@pytest.fixture
def own_redis() -> Iterator[PrivateRedis]:
    """A Redis of this test's own, to stop, kill and restart."""
    with private_redis() as server:
        yield server
