"""Fixtures of every tier: a clean environment and a private Redis. Pure tiers have no network."""

import gc
import os
import secrets
from collections.abc import Iterator
from typing import Final

import pytest
import pytest_socket

from simulator.private_redis import PrivateRedis, private_redis
from tests.support.redis import create_login, take_refusals
from tests.support.s3_server import S3Faults, S3Server, s3_server

# Variables of a developer's shell must not change the result of a test.
CLEARED_PREFIXES: Final = ("GATEWAY_", "RUNCOMFY_")
NO_SOCKET_TIERS: Final = ("tests/unit/", "tests/property/")
# A file is run by one process, as its stack is started once: long files last would keep one process
# busy alone. Others, of which most take less than a second, fill the end.
LONG_TIERS: Final = (
    "tests/simulation/",
    "tests/chaos/",
    "tests/integration/http/test_openapi_fuzzing.py",
    "tests/attack/",
    "tests/integration/observability/",
    "tests/e2e/",
    "tests/bench/",
    "tests/integration/",
    "tests/generators/",
    "tests/conformance/",
)


@pytest.fixture(scope="session", autouse=True)
def _clean_environment() -> Iterator[None]:
    # Once per run: for each test it would cost as much as a pure test itself.
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(CLEARED_PREFIXES)]:
            patch.delenv(name)
        yield


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return two more than there are cores: tests of real processes wait for much of their time."""
    return (os.cpu_count() or 1) + 2


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the tests by tier, longest first, and else as they are."""
    items.sort(key=lambda item: _rank(item.nodeid))


def _rank(node_id: str) -> int:
    ranks = (rank for rank, path in enumerate(LONG_TIERS) if node_id.startswith(path))
    return next(ranks, len(LONG_TIERS))


def pytest_collection_finish() -> None:
    """Freeze the collected tests, so that the garbage collector does not scan them again."""
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
    """One private Redis for the whole run; never the developer's own, because tests flush it."""
    with private_redis() as server:
        yield server


@pytest.fixture(scope="session")
def redis_url(redis_server: PrivateRedis) -> str:
    """The URL of the run's private Redis, with what earlier tests have left in it."""
    return redis_server.url


@pytest.fixture
def redis_flushed(redis_server: PrivateRedis) -> str:
    """The URL of the run's private Redis, emptied (data and cached scripts) for this test."""
    redis_server.flush()
    return redis_server.url


@pytest.fixture(scope="session")
def _login_url(redis_server: PrivateRedis) -> str:
    return create_login(redis_server)


@pytest.fixture
def gateway_url(redis_server: PrivateRedis, redis_flushed: str, _login_url: str) -> Iterator[str]:
    """As `redis_flushed`, for a login that has the gateway's rights and no others.

    The test fails if one of them was missing, also if nobody noticed.
    """
    assert redis_flushed
    take_refusals(redis_server)
    yield _login_url
    assert take_refusals(redis_server) == []


@pytest.fixture
def own_redis() -> Iterator[PrivateRedis]:
    """A Redis for this test alone, to stop, kill and restart."""
    with private_redis() as server:
        yield server


@pytest.fixture(scope="session")
def _s3_process() -> Iterator[S3Server]:
    with s3_server() as server:
        yield server


@pytest.fixture
def s3(_s3_process: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """The run's S3 server, which obstore finds, and which stops to fail after this test."""
    for name, value in _s3_process.environment.items():
        monkeypatch.setenv(name, value)
    yield _s3_process
    _s3_process.fail(S3Faults())


@pytest.fixture
def s3_bucket(s3: S3Server) -> str:
    """The URL of a new bucket, for a setting of the gateway."""
    return s3.create_bucket(f"bucket-{secrets.token_hex(8)}")
