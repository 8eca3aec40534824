"""Long polls through the whole stack: a worker's steps reach a caller of a service immediately."""

from collections.abc import Iterator

import pytest

from simulator.example import load_kling_example
from simulator.stack import Stack
from tests.support.stack import running_stack, tenant_client


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One stack for all tests; each has a tenant of its own."""
    with running_stack(tmp_path_factory.mktemp("stack")) as stack:
        yield stack


def test_a_submit_that_waits_is_answered_with_the_result(stack: Stack) -> None:
    example = load_kling_example()
    with tenant_client(stack, "submitting") as tenant:
        answer = tenant.http.post(
            f"/v1/models/{example.model_id}",
            json=example.input,
            headers={"prefer": "wait=30"},
            timeout=40,
        )

    assert answer.status_code == 200, answer.text
    assert answer.headers["preference-applied"] == "wait=30"
    assert answer.json()["gateway_status"] == "completed"
    assert answer.json()["output"]


def test_a_stream_sends_all_events_in_order_and_ends(stack: Stack) -> None:
    example = load_kling_example()
    with tenant_client(stack, "streaming") as tenant:
        job = tenant.http.post(f"/v1/models/{example.model_id}", json=example.input).json()
        path = f"/v1/requests/{job['request_id']}/events"
        told = tenant.http.get(path).text
        ids = [line for line in told.splitlines() if line.startswith("id: ")]
        again = tenant.http.get(path, headers={"last-event-id": ids[-1].removeprefix("id: ")})

    events = [line for line in told.splitlines() if line.startswith("event: ")]
    assert events[0] == "event: request.in_queue"
    assert events[-2:] == ["event: request.in_progress", "event: request.completed"]
    assert len(events) == len(set(events))
    assert again.status_code == 204
