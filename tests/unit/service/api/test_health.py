from datetime import datetime, timedelta

import orjson
import pytest

from core.circuit_breaker import BreakerReason, BreakerState, CircuitBreaker
from core.errors import StoreUnavailable
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


async def readiness(app: AppHarness) -> tuple[int, dict[str, str]]:
    async with app.client() as probe:
        answer = await probe.get("/readyz")
    checks: dict[str, str] = orjson.loads(answer.content)["checks"]
    return answer.status_code, checks


async def test_ready_needs_a_worker_of_late(app: AppHarness) -> None:
    assert await readiness(app) == (503, CHECKS | {"worker": "not_seen"})
    await app.stores.heartbeats.record("w1")
    app.clock.move(timedelta(seconds=30))
    assert await readiness(app) == (200, CHECKS)
    app.clock.move(timedelta(seconds=1))
    assert await readiness(app) == (503, CHECKS | {"worker": "not_seen"})


@pytest.mark.parametrize(
    ("reason", "status", "word"),
    [
        (BreakerReason.ACCOUNT_REFUSED, 503, "refused"),
        (BreakerReason.FAILING, 200, "failing"),
    ],
)
async def test_only_a_refused_account_makes_unready(
    app: AppHarness, reason: BreakerReason, status: int, word: str
) -> None:
    await app.stores.heartbeats.record("w1")
    opened = CircuitBreaker(1, BreakerState.OPEN, reason, retry_at=app.clock.now())
    await app.stores.circuit_breakers.compare_and_set(CircuitBreaker(), opened)
    assert await readiness(app) == (status, CHECKS | {"upstream": word})


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
