from dataclasses import replace
from datetime import datetime, timedelta

import orjson
import pytest

from core.errors import StoreUnavailable
from core.store.identity import StorePosition
from core.upstream.circuit_breaker import BreakerReason, BreakerState, CircuitBreaker
from tests.support.app import AppHarness
from tests.support.memory_store.shared_state import MemoryWorkerHeartbeats


async def test_alive_is_always_alive(app: AppHarness) -> None:
    async with app.client() as probe:
        answer = await probe.get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


class UnavailableHeartbeats(MemoryWorkerHeartbeats):
    """Raises `StoreUnavailable`."""

    async def last_seen(self) -> datetime | None:
        raise StoreUnavailable


CHECKS = {"redis": "ok", "worker": "ok", "upstream": "ok"}


async def readiness(app: AppHarness, path: str = "/readyz") -> tuple[int, dict[str, str]]:
    async with app.client() as probe:
        answer = await probe.get(path)
    checks: dict[str, str] = orjson.loads(answer.content)["checks"]
    return answer.status_code, checks


async def test_ready_to_submit_needs_a_worker_of_late(app: AppHarness) -> None:
    path = "/readyz?for=submit"
    assert await readiness(app, path) == (503, CHECKS | {"worker": "not_seen"})
    await app.stores.heartbeats.record("w1")
    app.clock.move(timedelta(seconds=30))
    assert await readiness(app, path) == (200, CHECKS)
    app.clock.move(timedelta(seconds=1))
    assert await readiness(app, path) == (503, CHECKS | {"worker": "not_seen"})


@pytest.mark.parametrize(
    ("reason", "status", "word"),
    [
        (BreakerReason.ACCOUNT_REFUSED, 503, "refused"),
        (BreakerReason.FAILING, 200, "failing"),
    ],
)
async def test_only_a_refused_account_makes_unready_to_submit(
    app: AppHarness, reason: BreakerReason, status: int, word: str
) -> None:
    await app.stores.heartbeats.record("w1")
    await refuse(app, reason)
    assert await readiness(app, "/readyz?for=submit") == (status, CHECKS | {"upstream": word})
    assert await readiness(app) == (200, CHECKS | {"upstream": word})


async def refuse(app: AppHarness, reason: BreakerReason) -> None:
    now = app.clock.now()
    opened = CircuitBreaker(1, BreakerState.OPEN, reason, opened_at=now, retry_at=now)
    await app.stores.circuit_breakers.compare_and_set("account", CircuitBreaker(), opened)


async def test_reads_need_neither_a_worker_nor_runcomfy(app: AppHarness) -> None:
    await refuse(app, BreakerReason.ACCOUNT_REFUSED)
    found = {"redis": "ok", "worker": "not_seen", "upstream": "refused"}
    for path in ("/readyz", "/readyz?for=reads"):
        assert await readiness(app, path) == (200, found)
    async with app.client() as probe:
        document = (await probe.get("/readyz")).json()
    assert (document["status"], document["ready_for"]) == (
        "ready",
        {"reads": True, "submit": False},
    )


async def test_a_question_that_nobody_knows_is_refused(app: AppHarness) -> None:
    async with app.client() as probe:
        answer = await probe.get("/readyz?for=fun")
    assert answer.status_code == 400


async def test_ready_needs_the_store(app: AppHarness) -> None:
    app.replace_stores(heartbeats=UnavailableHeartbeats(app.stores.memory))
    unknown = {"redis": "no_answer", "worker": "unchecked", "upstream": "unchecked"}
    assert await readiness(app) == (503, unknown)


async def test_an_empty_store_is_not_ready_and_refuses_no_key(app: AppHarness, key: str) -> None:
    await app.stores.heartbeats.record("w1")
    app.stores.memory.tenants.clear()
    app.stores.memory.keys.clear()
    app.stores.memory.position = None
    status, checks = await readiness(app)
    assert (status, checks["redis"]) == (503, "unknown")
    async with app.client() as probe:
        answer = await probe.get("/v1/requests", headers={"Authorization": f"Bearer {key}"})
    assert answer.status_code == 503
    assert answer.json()["code"] == "store_unknown"
    assert answer.json()["retryable"] is True
    assert "retry-after" in answer.headers


async def test_the_store_of_another_account_is_not_ready(app: AppHarness, key: str) -> None:
    del key
    app.replace_resources(policy=replace(app.resources.policy, account="simulated"))
    await app.stores.heartbeats.record("w1")
    await app.stores.identity.create(StorePosition("s"))
    await app.stores.identity.replace_account("", "real 1111111111111111")
    unchecked = {"worker": "unchecked", "upstream": "unchecked"}
    assert await readiness(app) == (503, {"redis": "other_account", **unchecked})


async def test_a_service_that_is_about_to_stop_is_ready_for_nothing(app: AppHarness) -> None:
    await app.stores.heartbeats.record("w1")
    app.replace_resources(is_stopping=lambda: True)
    for path in ("/readyz", "/readyz?for=submit"):
        assert await readiness(app, path) == (503, CHECKS | {"service": "stopping"})
    async with app.client() as probe:
        assert (await probe.get("/healthz")).status_code == 200
