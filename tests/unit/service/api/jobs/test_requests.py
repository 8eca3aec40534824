"""Reads by callers: status, result, details, models, health."""

from typing import Any

import httpx
import pytest

from core.jobs.job import BillingStatus, Job, Trigger
from core.money import MicroUsd
from core.store.codecs import JOB_CODEC
from core.tenants.api_keys import build_api_key
from core.transactions.job_update import Change
from tests.support.app import KLING_INPUT, KLING_PATH, AppHarness


@pytest.fixture
async def job_id(caller: httpx.AsyncClient) -> str:
    """The id of a queued job."""
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
    """Move the job to `succeeded` as a worker would."""
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
        ("", 0.63),
        ("?include_cost=false", None),
        ("?include_cost=true", 0.63),
        ("?include_cost=1", 0.63),
        ("?include_cost=yes", 0.63),
        ("?include_cost=", 0.63),
        ("?include_cost", 0.63),
        ("?include_cost=No", None),
        ("?include_cost=0", None),
    ],
)
async def test_the_cost_is_in_the_result_unless_left_out(
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
async def test_no_such_job_is_404(caller: httpx.AsyncClient, path: str) -> None:
    answer = await caller.get(f"/v1/requests/019aac77-eeb8-7a3d-9c1e-5b7f20d4e681{path}")
    assert (answer.status_code, answer.json()["error_code"]) == (404, 404001)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", ["a" * 10_240, "%00", "a b", "é", "*", "a:b"])
async def test_what_cannot_be_an_id_is_refused_as_runcomfy_does(
    caller: httpx.AsyncClient, path: str, name: str
) -> None:
    answer = await caller.get(f"/v1/requests/{name}{path}")
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_id")
    assert answer.json()["error_code"] == 400001


@pytest.mark.parametrize("name", ["req_nobody", "a" * 10_240])
async def test_without_a_live_key_no_name_is_judged(app: AppHarness, name: str) -> None:
    await app.tenant()
    async with app.client(build_api_key("nobody", b"n" * 32)) as stranger:
        assert (await stranger.get(f"/v1/requests/{name}/status")).status_code == 401
    async with app.client() as nobody:
        assert (await nobody.get(f"/v1/requests/{name}/status")).status_code == 401


# --- models


# --- operation


async def test_figures_count_by_template_never_by_path(
    app: AppHarness, caller: httpx.AsyncClient, job_id: str
) -> None:
    await caller.get(f"/v1/requests/{job_id}/status")
    await caller.post(f"{KLING_PATH}?nonsense=1", json={})
    await caller.get("/nowhere")

    text = (await app.resources.metrics.render()).decode()
    assert 'gateway_submissions_total{outcome="accepted"} 1.0' in text
    assert 'gateway_submissions_total{outcome="malformed_request"} 1.0' in text
    assert 'gateway_submission_duration_seconds_count{result="refused"} 1.0' in text
    assert 'route="/v1/requests/{request_id}/status",status="200"} 1.0' in text
    assert 'route="unmatched",status="404"} 1.0' in text
    job = app.stores.memory.all_jobs()[0]
    whose = f'model="{job.model_id}",tenant="{job.tenant}"'
    assert f"gateway_cost_reserved_usd_total{{{whose}}} 0.63" in text
    assert job_id not in text
