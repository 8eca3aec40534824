"""`not_before`: what callers may name, and what they read until then."""

from datetime import timedelta
from typing import Any

import httpx
import pytest

from core.clock import iso
from core.jobs.job import Job, WaitingFor
from tests.support.app import KLING, KLING_INPUT, KLING_PATH, AppHarness
from tests.support.job_steps import only_job

HOUR = timedelta(hours=1)


async def submit(caller: httpx.AsyncClient, query: str) -> tuple[int, dict[str, Any]]:
    """Return the status and the document of a submit."""
    answer = await caller.post(f"{KLING_PATH}?{query}", json=KLING_INPUT)
    return answer.status_code, answer.json()


def stored(app: AppHarness) -> Job:
    return only_job(app)


async def test_a_held_request_is_queued_and_names_its_time(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    until = app.clock.now() + HOUR
    status, answer = await submit(caller, f"not_before={iso(until)}")
    assert (status, answer["status"], answer["not_before"]) == (202, "in_queue", iso(until))
    job = stored(app)
    assert (job.not_before, job.waiting_for) == (until, WaitingFor.NOT_BEFORE)
    assert (job.start_deadline, job.deadline) == (until + 2 * HOUR, until + 2 * HOUR)
    url = f"/v1/requests/{answer['request_id']}"
    read = (await caller.get(f"{url}/status")).json()
    assert (read["waiting_for"], read["not_before"]) == ("not_before", iso(until))
    (line,) = (await caller.get("/v1/requests?status=in_queue")).json()["requests"]
    assert line["not_before"] == iso(until)
    cancelled = (await caller.post(f"{url}/cancel")).json()
    assert cancelled["outcome"] == "cancelled"


async def test_deadlines_count_from_it(app: AppHarness, caller: httpx.AsyncClient) -> None:
    until = app.clock.now() + HOUR
    await submit(caller, f"not_before={iso(until)}&timeout=600&start_timeout=60")
    job = stored(app)
    assert job.deadline == until + timedelta(minutes=10)
    assert job.start_deadline == until + timedelta(minutes=1)


@pytest.mark.parametrize("hours", [0, -1, -10_000])
async def test_a_time_that_has_passed_is_no_delay(
    app: AppHarness, caller: httpx.AsyncClient, hours: int
) -> None:
    status, answer = await submit(caller, f"not_before={iso(app.clock.now() + hours * HOUR)}")
    assert (status, "not_before" in answer) == (202, False)
    assert stored(app).deadline == app.clock.now() + 2 * HOUR


@pytest.mark.parametrize(
    "text",
    ["2026-03-01T15:00:00+02:00", "2026-03-01T15:00:00%2B02:00", "2026-03-01t13:00:00z"],
)
async def test_a_time_may_have_any_zone(
    app: AppHarness, caller: httpx.AsyncClient, text: str
) -> None:
    assert (await submit(caller, f"not_before={text}"))[0] == 202
    assert iso(stored(app).not_before) == "2026-03-01T13:00:00Z"


@pytest.mark.parametrize(
    "text",
    ["", "tomorrow", "2026-03-01", "2026-03-01T13:00:00", "1772370000", "9999-99-99T00:00:00Z"],
)
async def test_a_wrong_time_is_refused(caller: httpx.AsyncClient, text: str) -> None:
    status, answer = await submit(caller, f"not_before={text}")
    assert (status, answer["errors"][0]["path"]) == (400, "?not_before")


async def test_it_has_a_horizon(app: AppHarness, caller: httpx.AsyncClient) -> None:
    latest = app.clock.now() + timedelta(days=7)
    status, answer = await submit(caller, f"not_before={iso(latest + timedelta(seconds=1))}")
    assert (status, answer["errors"][0]["path"]) == (400, "?not_before")
    assert iso(latest) in answer["detail"]
    assert (await submit(caller, f"not_before={iso(latest)}"))[0] == 202


async def test_items_of_a_batch_have_it(app: AppHarness, caller: httpx.AsyncClient) -> None:
    until = app.clock.now() + HOUR
    item = {"model_id": KLING, "input": KLING_INPUT}
    late = {**item, "not_before": iso(until + timedelta(days=7))}
    refused = await caller.post("/v1/batches", json={"items": [late]})
    assert refused.json()["errors"][0]["path"] == "/items/0/not_before"
    body = {"items": [{**item, "not_before": iso(until)}]}
    assert (await caller.post("/v1/batches", json=body)).status_code == 202
    assert stored(app).waiting_for is WaitingFor.NOT_BEFORE


async def test_a_dry_run_of_a_held_request_runs_nothing_at_once(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    query = f"dry_run=true&not_before={iso(app.clock.now() + HOUR)}"
    assert (await submit(caller, query))[1]["runs_at_once"] is False
