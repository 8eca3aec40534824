"""Waiting through the whole stack: the worker's steps reach a caller of another process at once."""

from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from simulator.example import load_kling_example
from simulator.stack import Stack


@contextmanager
def open_caller(stack: Stack) -> Iterator[httpx.Client]:
    """A tenant with an HTTP client."""
    headers = {"authorization": f"Bearer {stack.create_tenant('waiting').key}"}
    with httpx.Client(base_url=stack.url, headers=headers, timeout=40) as caller:
        yield caller


def test_a_submit_that_waits_is_answered_with_the_result(stack: Stack) -> None:
    example = load_kling_example()
    with open_caller(stack) as caller:
        answer = caller.post(
            f"/v1/models/{example.model_id}", json=example.input, headers={"prefer": "wait=30"}
        )

    assert answer.status_code == 200, answer.text
    assert answer.headers["preference-applied"] == "wait=30"
    assert answer.json()["status"] == "completed"
    assert answer.json()["output"]


def test_a_stream_tells_the_whole_life_in_order_and_ends(stack: Stack) -> None:
    example = load_kling_example()
    with open_caller(stack) as caller:
        job = caller.post(f"/v1/models/{example.model_id}", json=example.input).json()
        path = f"/v1/requests/{job['request_id']}/events"
        told = caller.get(path).text
        ids = [line for line in told.splitlines() if line.startswith("id: ")]
        again = caller.get(path, headers={"last-event-id": ids[-1].removeprefix("id: ")})

    events = [line for line in told.splitlines() if line.startswith("event: ")]
    assert events[0] == "event: request.in_queue"
    assert events[-2:] == ["event: request.in_progress", "event: request.completed"]
    assert len(events) == len(set(events))
    assert again.status_code == 204
