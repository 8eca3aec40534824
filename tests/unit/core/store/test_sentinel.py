"""Which server is the master by the Sentinels' answers, and when a connection must end."""

from datetime import timedelta
from typing import Any

import pytest
from pydantic import SecretStr
from redis.asyncio.connection import SSLConnection
from redis.asyncio.sentinel import SentinelManagedSSLConnection

from core.settings.definitions import RedisPolicy
from core.store.client import build_connection_pool
from core.store.sentinel import choose_master, is_replaced

OLD, NEW = ("10.0.0.1", 6379), ("10.0.0.2", 6379)


def state(address: tuple[str, int], epoch: int = 1, flags: str = "master") -> dict[str, Any]:
    """One Sentinel's answer, as redis-py parses it."""
    return {
        "ip": address[0],
        "port": address[1],
        "config-epoch": epoch,
        "flags": flags,
        "is_master": "master" in flags,
        "is_sdown": "s_down" in flags,
        "is_odown": "o_down" in flags,
    }


FAILING = state(OLD, flags="master,failover_in_progress")
DOWN = state(OLD, flags="master,s_down")


@pytest.mark.parametrize(
    ("states", "master", "replaced"),
    [
        ([], None, False),
        ([state(OLD)], OLD, False),
        ([state(NEW)], NEW, True),
        ([state(OLD), state(OLD), FAILING], None, True),
        ([FAILING], None, True),
        ([state(OLD, 1), state(NEW, 2)], NEW, True),
        ([state(NEW, 1), state(OLD, 2)], OLD, False),
        ([DOWN], None, False),
        ([DOWN, state(OLD)], OLD, False),
        ([DOWN, state(NEW, 2)], NEW, True),
    ],
)
def test_the_newest_configuration_counts_and_a_fail_over_in_progress_ends_the_connection(
    states: list[dict[str, Any]], master: tuple[str, int] | None, *, replaced: bool
) -> None:
    assert choose_master(states) == master
    assert is_replaced(OLD, states) is replaced


def test_tls_and_logins_reach_the_master_and_the_sentinels() -> None:
    second = timedelta(seconds=1)
    policy = RedisPolicy(
        url=SecretStr("rediss://app:one@ignored:1/3?ssl_ca_certs=/ca.pem"),
        sentinels=(("s1", 26379), ("s2", 26379)),
        master="house",
        timeout=second,
        connect_timeout=second,
        sentinel_username="watcher",
        sentinel_password=SecretStr("two"),
    )
    pool: Any = build_connection_pool(policy, "test")
    assert pool.connection_class is SentinelManagedSSLConnection
    login = {name: pool.connection_kwargs[name] for name in ("username", "password", "db")}
    assert login == {"username": "app", "password": "one", "db": 3}
    clients = [client.connection_pool for client in pool.sentinel_manager.sentinels]
    assert [client.connection_class for client in clients] == [SSLConnection] * 2
    options = clients[0].connection_kwargs
    assert (options["host"], options["username"], options["password"]) == ("s1", "watcher", "two")
    assert options["ssl_ca_certs"] == "/ca.pem"
    assert pool.make_connection().ssl_context is not None
