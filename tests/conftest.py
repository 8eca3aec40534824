"""Fixtures of every tier: a scrubbed environment and a private Redis. No network, no clock."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import pytest

from simulator.private_redis import private_redis

if TYPE_CHECKING:
    from collections.abc import Iterator

    from simulator.private_redis import PrivateRedis

# What a developer's shell may hold must not change what a test sees.
SCRUBBED: Final = ("GATEWAY_", "RUNCOMFY_")


@pytest.fixture(autouse=True)
def _scrubbed_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(SCRUBBED)]:
        monkeypatch.delenv(name)


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
