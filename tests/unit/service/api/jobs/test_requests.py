"""Status, result, details, models, health: what callers read."""

from datetime import datetime, timedelta
from typing import Any

import httpx
import orjson
import pytest

from core.circuit_breaker import BreakerReason, BreakerState, CircuitBreaker
from core.errors import StoreUnavailable
from core.jobs.job import BillingStatus, Job, Trigger
from core.money import MicroUsd
from core.store.codecs import JOB_CODEC
from core.tenants.api_keys import build_api_key
from core.transactions.job_update import Change
from tests.support.app import KLING, KLING_INPUT, KLING_PATH, AppHarness
from tests.support.memory_store.shared_state import MemoryWorkerHeartbeats


@pytest.fixture
async def job_id(caller: httpx.AsyncClient) -> str:
    """A job that waits."""
    answer = await caller.post(f"{KLING_PATH}?reference=order-7", json=KLING_INPUT)
    name: str = answer.json()["request_id"]
    return name


async def apply_trigger(app: AppHarness, job_id: str, fact: Trigger, **parts: Any) -> Job:  # noqa: ANN401 - fields of a job
    """Move the job as a worker would."""
    before = JOB_CODEC.decode(app.stores.memory.jobs[job_id].doc)
    after = before.transition(fact, app.clock.now(), **parts)
    output = b'{"video":"https://x.example.com/o.mp4"}' if fact is Trigger.COLLECTED else None
    await app.stores.jobs.store(Change(before, after, output=output))
    return after


async def finish_job(app: AppHarness, job_id: str) -> None:
    """Bring the job to its good end."""
    await apply_trigger(app, job_id, Trigger.CLAIMED)
    await apply_trigger(app, job_id, Trigger.ACCEPTED, upstream_id="up-1", upstream_running=True)
    await apply_trigger(app, job_id, Trigger.FINISHED)
    await apply_trigger(
        app,
        job_id,
        Trigger.COLLECTED,
        finished_at=app.clock.now(),
        billed=BillingStatus.YES,
        cost=MicroUsd(630_000),
        next_run_at=None,
    )


async def test_the_status_of_a_waiting_job(caller: httpx.AsyncClient, job_id: str) -> None:
    answer = await caller.get(f"/v1/requests/{job_id}/status")
    assert answer.status_code == 200
    assert (answer.json()["status"], answer.json()["reference"]) == ("in_queue", "order-7")
    assert answer.headers["retry-after"] == "2"


async def test_the_status_of_a_finished_job_hints_at_nothing(
    app: AppHarness, caller: httpx.AsyncClient, job_id: str
) -> None:
    await finish_job(app, job_id)
    answer = await caller.get(f"/v1/requests/{job_id}/status")
    assert answer.json()["status"] == "completed"
    assert "retry-after" not in answer.headers


async def test_a_result_before_the_end_is_the_present_status(
    caller: httpx.AsyncClient, job_id: str
) -> None:
    answer = await caller.get(f"/v1/requests/{job_id}/result")
    assert (answer.status_code, answer.json()["status"]) == (200, "in_queue")
    assert "output" not in answer.json()


@pytest.mark.parametrize(
    ("query", "cost"),
    [
        ("", None),
        ("?include_cost=false", None),
        ("?include_cost=true", 0.63),
        ("?include_cost=1", 0.63),
    ],
)
async def test_the_cost_is_told_when_asked_for(
    app: AppHarness, caller: httpx.AsyncClient, job_id: str, query: str, cost: float | None
) -> None:
    await finish_job(app, job_id)
    document = (await caller.get(f"/v1/requests/{job_id}/result{query}")).json()
    assert document.get("cost") == cost
    assert document["output"] == {"video": "https://x.example.com/o.mp4"}
    assert document["billed"] == "yes"


async def test_an_odd_include_cost_is_refused(caller: httpx.AsyncClient, job_id: str) -> None:
    answer = await caller.get(f"/v1/requests/{job_id}/result?include_cost=perhaps")
    assert answer.status_code == 400
    assert "include_cost" in answer.json()["detail"]


async def test_the_details_hold_the_timeline(
    app: AppHarness, caller: httpx.AsyncClient, job_id: str
) -> None:
    await finish_job(app, job_id)
    document = (await caller.get(f"/v1/requests/{job_id}")).json()
    assert document["state"] == "succeeded"
    assert document["upstream_request_id"] == "up-1"
    assert document["timeline"][0]["what"] == "admitted"


PATHS = ["/status", "/result", ""]


@pytest.mark.parametrize("path", PATHS)
async def test_another_tenant_s_job_is_404(app: AppHarness, job_id: str, path: str) -> None:
    other = await app.tenant("other-team")
    async with app.client(other) as stranger:
        answer = await stranger.get(f"/v1/requests/{job_id}{path}")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", ["req_nobody", "a" * 10_240, "%00", "a b", "é", "*", "a:b"])
async def test_no_such_job_is_404_whatever_it_is_called(
    caller: httpx.AsyncClient, path: str, name: str
) -> None:
    assert (await caller.get(f"/v1/requests/{name}{path}")).status_code == 404


@pytest.mark.parametrize("name", ["req_nobody", "a" * 10_240])
async def test_without_a_live_key_no_name_is_judged(app: AppHarness, name: str) -> None:
    async with app.client(build_api_key("nobody", b"n" * 32)) as stranger:
        assert (await stranger.get(f"/v1/requests/{name}/status")).status_code == 401
    async with app.client() as nobody:
        assert (await nobody.get(f"/v1/requests/{name}/status")).status_code == 401


# --- models


async def test_models_are_listed_in_runcomfy_s_shape(caller: httpx.AsyncClient) -> None:
    document = (await caller.get("/v1/models?search=kling&limit=1")).json()
    assert [model["model_id"] for model in document["models"]] == [KLING]
    assert (document["total"], document["limit"], document["offset"]) == (1, 1, 0)
    assert "input_schema" not in document["models"][0]


async def test_schemas_are_listed_when_asked_for(caller: httpx.AsyncClient) -> None:
    document = (await caller.get("/v1/models?include_schema=true")).json()
    assert "input_schema" in document["models"][0]


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=101", "limit=x", "offset=-1", "limit=%D9%A3", "include_schema=x"]
)
async def test_a_page_that_cannot_be_is_refused(caller: httpx.AsyncClient, query: str) -> None:
    assert (await caller.get(f"/v1/models?{query}")).status_code == 400


async def test_one_model_and_the_categories(caller: httpx.AsyncClient) -> None:
    assert (await caller.get(KLING_PATH)).json()["model_id"] == KLING
    categories = (await caller.get("/v1/models/categories")).json()
    assert categories == {"categories": ["image-to-video"]}


async def test_a_model_that_nobody_knows_is_404(caller: httpx.AsyncClient) -> None:
    answer = await caller.get("/v1/models/some/model")
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_model")


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/categories", KLING_PATH])
async def test_the_catalogue_is_for_key_holders(app: AppHarness, path: str) -> None:
    async with app.client() as nobody:
        assert (await nobody.get(path)).status_code == 401


# --- operation


async def test_alive_is_always_alive(app: AppHarness) -> None:
    async with app.client() as probe:
        answer = await probe.get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


class UnavailableHeartbeats(MemoryWorkerHeartbeats):
    """The store is away."""

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
    app.replace_resources(worker_heartbeats=UnavailableHeartbeats(app.stores.memory))
    unknown = {"redis": "no_answer", "worker": "unchecked", "upstream": "unchecked"}
    assert await readiness(app) == (503, unknown)


async def test_figures_count_by_template_never_by_path(
    app: AppHarness, caller: httpx.AsyncClient, job_id: str
) -> None:
    await caller.get(f"/v1/requests/{job_id}/status")
    await caller.post(f"{KLING_PATH}?nonsense=1", json={})
    await caller.get("/nowhere")
    answer = await caller.get("/metrics")

    text = answer.text
    assert answer.headers["content-type"].startswith("text/plain")
    assert 'gateway_submissions_total{outcome="accepted"} 1.0' in text
    assert 'gateway_submissions_total{outcome="malformed_request"} 1.0' in text
    assert 'gateway_submission_duration_seconds_count{result="refused"} 1.0' in text
    assert 'route="/v1/requests/{request_id}/status",status="200"} 1.0' in text
    assert 'route="unmatched",status="404"} 1.0' in text
    job = app.stores.memory.all_jobs()[0]
    whose = f'model="{job.model_id}",tenant="{job.tenant}"'
    assert f"gateway_cost_reserved_usd_total{{{whose}}} 0.63" in text
    assert job_id not in text
