"""Operators see which circuit breakers stop submits, and close them."""

from collections.abc import AsyncIterator

import httpx
import pytest

from core.jobs.job import WaitingFor
from core.money import MicroUsd
from core.transactions.job_update import Change
from core.upstream.circuit_breaker import BreakerPolicy, BreakerReason, CircuitBreaker
from tests.support.app import KLING_INPUT, KLING_PATH, AppHarness

TOKEN = "operators-token-of-32-characters"
REASON = BreakerReason.INSUFFICIENT_BALANCE


@pytest.fixture
async def operator(app: AppHarness) -> AsyncIterator[httpx.AsyncClient]:
    """A client with the operators' token."""
    app.enable_admin_api(TOKEN)
    async with app.client(TOKEN) as http:
        yield http


async def _refuse(app: AppHarness, price: int = 500_000) -> None:
    opened = CircuitBreaker().record_refusal(
        REASON, "no balance", app.clock.now(), BreakerPolicy(), MicroUsd(price)
    )
    await app.stores.circuit_breakers.compare_and_set("balance", CircuitBreaker(), opened)


async def test_what_stops_submits_is_listed(app: AppHarness, operator: httpx.AsyncClient) -> None:
    await _refuse(app)
    listed = (await operator.get("/admin/v1/circuits")).json()["circuits"]
    assert [(one["circuit"], one["state"]) for one in listed] == [
        ("account", "closed"),
        ("balance", "open"),
    ]
    assert (listed[1]["reason"], listed[1]["detail"]) == (REASON, "no balance")
    assert listed[1]["min_price_usd"] == 0.5


async def test_a_reset_lets_waiting_jobs_go_on_at_once(
    app: AppHarness, operator: httpx.AsyncClient, caller: httpx.AsyncClient
) -> None:
    await caller.post(KLING_PATH, json=KLING_INPUT)
    (job,) = app.stores.memory.all_jobs()
    later = app.clock.now().replace(year=2099)
    waiting = job.evolve(app.clock.now(), waiting_for=WaitingFor.BALANCE, next_run_at=later)
    await app.stores.jobs.store(Change(job, waiting))
    await _refuse(app)
    shown = (await caller.get(f"/v1/requests/{job.id}/status")).json()
    assert shown["waiting_for"] == "balance"
    answer = await operator.post("/admin/v1/circuits/reset", json={"circuit": "balance"})
    assert [one["state"] for one in answer.json()["circuits"]] == ["closed", "closed"]
    assert app.stores.memory.due[job.id] == app.stores.memory.now
    entry = (await operator.get("/admin/v1/audit")).json()["entries"][0]
    assert (entry["action"], entry["subject"]) == ("circuit_reset", "balance")


async def test_a_circuit_that_nobody_knows_is_404(operator: httpx.AsyncClient) -> None:
    answer = await operator.post("/admin/v1/circuits/reset", json={"circuit": "model:typo"})
    assert answer.status_code == 404
