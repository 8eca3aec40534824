"""Batches by real processes: identical items are paid for once, completion is sent once."""

import json
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from simulator.demo import wait_for
from simulator.example import load_kling_example
from simulator.stack import Stack
from tests.support.stack import paid_submits, runcomfy_pace, running_stack, tenant_client

NAME: Final = "batches"
SOON: Final = timedelta(seconds=150)
IDENTICAL: Final = 50
OTHERS: Final = 5


@pytest.fixture
def slow_stack(tmp_path: Path) -> Iterator[Stack]:
    """Jobs run for four seconds. Two workers, of which either may die."""
    pace = runcomfy_pace("0..0", "4..4")
    with running_stack(tmp_path, runcomfy_options=pace, workers=2) as stack:
        yield stack


@pytest.fixture
def http(slow_stack: Stack) -> Iterator[httpx.Client]:
    with tenant_client(slow_stack, NAME) as tenant:
        yield tenant.http


def item(prompt: str, **options: str) -> dict[str, Any]:
    example = load_kling_example()
    given = {**example.input, "prompt": prompt}
    return {"model_id": example.model_id, "input": given, "cache": "use", **options}


def events(stack: Stack) -> list[dict[str, Any]]:
    """The `batch.completed` events that the receiver got, without repetitions."""
    answer = httpx.get(f"{stack.receiver.url}/_recv/calls", params={"name": NAME}, trust_env=False)
    calls = {call["webhook_id"]: json.loads(call["body"]) for call in answer.json()["calls"]}
    return [body for body in calls.values() if body["type"] == "batch.completed"]


def test_a_batch_outlives_its_workers_and_is_completed_once(
    slow_stack: Stack, http: httpx.Client
) -> None:
    drafts = [item("The same.")] * IDENTICAL + [item(f"Shot {n}.") for n in range(OTHERS)]
    answer = http.post("/v1/batches", json={"items": drafts, "reference": "films"})
    assert answer.status_code == 202, answer.text
    url = answer.json()["batch_url"]
    wait_for(lambda: paid_submits(slow_stack) == 1 + OTHERS or None, SOON, "the starts")
    for worker in slow_stack.workers:
        worker.kill()
    for worker in slow_stack.workers:
        worker.start()

    def ended() -> dict[str, Any] | None:
        document: dict[str, Any] = http.get(url).json()
        return document if document["status"] == "completed" else None

    document = wait_for(ended, SOON, "the end of the batch")
    assert document["counts"]["completed"] == IDENTICAL + OTHERS
    assert paid_submits(slow_stack) == 1 + OTHERS
    (event,) = wait_for(lambda: events(slow_stack) or None, SOON, "batch.completed")
    assert event["data"]["counts"] == document["counts"]
    assert event["data"]["reference"] == "films"
    time.sleep(3)  # three polls of each worker
    assert len(events(slow_stack)) == 1

    again = http.post("/v1/batches", json={"items": drafts})
    assert (again.status_code, again.json()["status"]) == (200, "completed")
    assert {one["gateway_cache"] for one in again.json()["items"]} == {"hit"}
    wait_for(lambda: len(events(slow_stack)) > 1 or None, SOON, "the second batch.completed")
    assert paid_submits(slow_stack) == 1 + OTHERS
