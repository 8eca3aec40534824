"""What the figures of a Redis server mean for the gateway."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from pydantic import SecretStr

from cli.doctor.check import Status
from cli.doctor.redis_checks import (
    check_account,
    check_durability,
    check_position,
    check_server,
    check_workers,
)
from core.settings.definitions import RedisPolicy
from core.store.identity import StorePosition
from core.store.server_facts import ServerFacts
from core.store.worker_heartbeats import Durability
from tests.support.clock import START

SECOND = timedelta(seconds=1)
HEALTHY = ServerFacts(
    product="Redis",
    version="7.0.15",
    replicas=0,
    used_bytes=2**20,
    max_bytes=2**30,
    clock_offset=timedelta(0),
    round_trip=timedelta(milliseconds=1),
)
SINGLE = RedisPolicy(SecretStr("redis://h"), (), "", SECOND, SECOND)
STORE = StorePosition("store", claims=5, last_claim="j 1")


def test_a_good_server_passes_every_check() -> None:
    assert {each.status for each in check_server(HEALTHY, SINGLE)} == {Status.OK}


@pytest.mark.parametrize(
    ("facts", "policy", "name", "status"),
    [
        ({"version": ""}, {}, "redis version", Status.WARN),
        ({"round_trip": SECOND}, {}, "redis round trip", Status.WARN),
        ({"clock_offset": 3 * SECOND}, {}, "clock", Status.FAIL),
        ({"clock_offset": -3 * SECOND}, {}, "clock", Status.FAIL),
        ({"forbidden": ("ZADD",)}, {}, "redis permissions", Status.FAIL),
        ({"used_bytes": None}, {}, "redis memory", Status.WARN),
        ({"max_bytes": 0}, {}, "redis memory", Status.WARN),
        ({"used_bytes": 2**30}, {}, "redis memory", Status.WARN),
        ({"replicas": 1}, {"replicas": 2}, "redis replicas", Status.FAIL),
        ({"replicas": None}, {"replicas": 1}, "redis replicas", Status.WARN),
        ({"replicas": 1}, {}, "redis replicas", Status.WARN),
        ({}, {"sentinels": (("h", 1),)}, "redis replicas", Status.WARN),
        ({"replicas": 2}, {"replicas": 2}, "redis replicas", Status.OK),
    ],
)
def test_each_weakness_is_found_and_the_way_out_named(
    facts: dict[str, Any], policy: dict[str, Any], name: str, status: Status
) -> None:
    checks = check_server(replace(HEALTHY, **facts), replace(SINGLE, **policy))
    found = {each.name: each for each in checks}
    assert found[name].status is status
    assert bool(found[name].fix) is (status is not Status.OK)
    assert {each.status for each in checks if each.name != name} == {Status.OK}


def test_a_long_list_of_forbidden_commands_is_cut() -> None:
    names = tuple(f"C{number}" for number in range(10))
    checks = check_server(replace(HEALTHY, forbidden=names), SINGLE)
    assert any(each.detail.endswith("C7 and 2 more") for each in checks)


@pytest.mark.parametrize(
    ("durability", "statuses"),
    [
        (Durability(aof=True, appendfsync="always", maxmemory_policy="noeviction"), [Status.OK]),
        (
            Durability(aof=True, appendfsync="everysec", maxmemory_policy="noeviction"),
            [Status.WARN],
        ),
        (Durability(aof=False, appendfsync="always", maxmemory_policy="noeviction"), [Status.FAIL]),
        (
            Durability(aof=False, appendfsync="everysec", maxmemory_policy="allkeys-lru"),
            [Status.FAIL, Status.FAIL],
        ),
        (Durability(aof=True, appendfsync=None, maxmemory_policy=None), [Status.WARN]),
    ],
)
def test_what_can_lose_jobs_is_found(durability: Durability, statuses: list[Status]) -> None:
    assert [each.status for each in check_durability(durability)] == statuses


@pytest.mark.parametrize(
    ("here", "journal", "status"),
    [
        (None, None, Status.OK),
        (STORE, None, Status.OK),
        (STORE, STORE, Status.OK),
        (replace(STORE, claims=9), STORE, Status.OK),
        (None, STORE, Status.FAIL),
        (replace(STORE, claims=4), STORE, Status.FAIL),
        (replace(STORE, compare_since=START), STORE, Status.FAIL),
        (replace(STORE, store_id="other"), STORE, Status.FAIL),
    ],
)
def test_the_store_must_be_the_journal_s_and_complete(
    here: StorePosition | None, journal: StorePosition | None, status: Status
) -> None:
    assert check_position(here, journal).status is status


def test_a_journal_that_is_not_the_stores_fails_the_check() -> None:
    here = replace(STORE, journal_id="journal-1")
    assert check_position(here, STORE, "journal-1").status is Status.OK
    assert check_position(here, STORE, "").status is Status.FAIL


def test_a_journal_that_went_back_fails_the_check() -> None:
    here = replace(STORE, journal_id="journal-1", lost_entry="entries/2026-11-28/a4/req_1.1.entry")
    check = check_position(here, STORE, "journal-1")
    assert check.status is Status.FAIL
    assert "req_1.1.entry" in check.detail


@pytest.mark.parametrize(
    ("held", "status"),
    [("", Status.OK), ("real", Status.OK), ("simulated", Status.FAIL)],
)
def test_the_store_must_be_of_the_same_account(held: str, status: Status) -> None:
    assert check_account(held, "real").status is status


@pytest.mark.parametrize(
    ("age", "status"), [(None, Status.WARN), (31, Status.WARN), (3, Status.OK)]
)
def test_a_worker_must_have_reported(age: int | None, status: Status) -> None:
    seen = None if age is None else START - age * SECOND
    assert check_workers(seen, START, 30 * SECOND).status is status
