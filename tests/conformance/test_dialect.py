"""RunComfy's documented dialect: the same test on RunComfy and on the gateway in front of it."""

import re
from datetime import datetime
from typing import Final
from uuid import UUID

import httpx
import pytest

from simulator.demo import wait_for
from tests.conformance.runcomfy_client import END_TIMEOUT, MODEL_PATH, Json, RunComfyClient

URLS: Final = ("status_url", "result_url", "cancel_url")
OPEN_WORDS: Final = {"in_queue", "in_progress"}
STATUS_WORDS: Final = OPEN_WORDS | {"completed", "cancelled"}
RESULT_WORDS: Final = OPEN_WORDS | {"succeeded", "failed", "cancelled"}
ENDED: Final = STATUS_WORDS - OPEN_WORDS
RESULT_ENDED: Final = RESULT_WORDS - OPEN_WORDS


def run(client: RunComfyClient, marks: str = "") -> Json:
    """Submit, wait for the end by the status call, and return the result."""
    request = client.submit(marks)
    client.poll(request["status_url"], ENDED)
    return client.get(request["result_url"])


def test_a_submit_answers_with_an_id_and_three_urls(client: RunComfyClient) -> None:
    request = client.submit()
    request_id = request["request_id"]
    assert re.fullmatch("[a-zA-Z0-9-]{1,128}", request_id)
    assert str(UUID(request_id)) == request_id
    for name in URLS:
        call = name.removesuffix("_url")
        base = str(client.http.base_url).rstrip("/")
        assert request[name] == f"{base}/v1/requests/{request_id}/{call}"


def test_every_status_is_a_documented_word(client: RunComfyClient) -> None:
    request = client.submit("[sim:queue=1][sim:run=2]")
    seen = []

    def is_ended(document: Json) -> bool:
        seen.append(document["status"])
        assert document["request_id"] == request["request_id"]
        assert {"status_url", "result_url"} <= document.keys()
        if "queue_position" in document:
            assert document["status"] == "in_queue"
            assert isinstance(document["queue_position"], int)
        return document["status"] not in OPEN_WORDS

    assert client.poll_until(request["status_url"], is_ended)["status"] == "completed"
    assert set(seen) <= STATUS_WORDS
    assert "in_queue" in seen


def test_before_the_end_a_result_is_the_status_without_an_output(client: RunComfyClient) -> None:
    request = client.submit("[sim:queue=30]")
    document = client.get(request["result_url"])
    assert document["request_id"] == request["request_id"]
    assert document["status"] in OPEN_WORDS
    assert document.get("output") is None
    client.http.post(request["cancel_url"])


def test_a_run_that_succeeded(client: RunComfyClient) -> None:
    result = run(client)
    assert result["status"] == "succeeded"
    assert result["output"]["video"].startswith("http")
    assert result.get("error") is None
    created, finished = (
        datetime.fromisoformat(result[f"{at}_at"]) for at in ("created", "finished")
    )
    assert created <= finished


def test_the_cost_is_there_if_it_is_requested(client: RunComfyClient) -> None:
    request = client.submit()
    result = client.poll_until(
        request["result_url"], lambda document: "cost" in document, include_cost="true"
    )
    assert (result["status"], result["cost"]) == ("succeeded", 1.26)


def test_a_run_that_failed_is_completed_and_only_the_result_reports_it(
    client: RunComfyClient,
) -> None:
    request = client.submit("[sim:failed]")
    assert client.poll(request["status_url"], ENDED)["status"] == "completed"
    result = client.get(request["result_url"])
    assert result["status"] == "failed"
    assert result.get("output") is None
    assert result["error"]


def test_a_queued_request_can_be_cancelled(client: RunComfyClient) -> None:
    request = client.submit("[sim:queue=30]")
    assert (
        cancel(client, request).items() >= {"outcome": "cancelled", "status": "cancelled"}.items()
    )
    assert client.get(request["status_url"])["status"] == "cancelled"
    result = client.get(request["result_url"])
    assert (result["status"], result.get("output")) == ("cancelled", None)


def test_a_running_request_cannot_be_cancelled(client: RunComfyClient) -> None:
    request = client.submit("[sim:run=40]")
    client.poll(request["status_url"], {"in_progress"})
    found = cancel(client, request)
    assert (found["outcome"], found["status"]) == ("not_cancellable", "in_progress")
    assert client.get(request["status_url"])["status"] == "in_progress"


def cancel(client: RunComfyClient, request: Json) -> Json:
    """Cancel, again while no answer came in time, as `requested` says on a slow machine."""
    first = client.http.post(request["cancel_url"])
    assert first.status_code == httpx.codes.ACCEPTED
    if first.json()["outcome"] != "requested":
        found: Json = first.json()
        return found
    return wait_for(lambda: answered_cancel(client, request), END_TIMEOUT, "an answer to a cancel")


def answered_cancel(client: RunComfyClient, request: Json) -> Json | None:
    """Return the answer to another cancel, unless it is `requested`."""
    found: Json = client.http.post(request["cancel_url"]).json()
    return None if found["outcome"] == "requested" else found


def test_an_ended_request_cannot_be_cancelled(client: RunComfyClient) -> None:
    request = client.submit()
    client.poll(request["result_url"], RESULT_ENDED)
    answer = client.http.post(request["cancel_url"])
    assert answer.is_success
    assert answer.json()["outcome"] == "not_cancellable"


@pytest.mark.parametrize("call", ["status", "result", "cancel"])
@pytest.mark.parametrize(
    ("request_id", "status", "code"),
    [
        ("019aac77-eeb8-7a3d-9c1e-5b7f20d4e681", 404, 404001),
        ("no.such", 400, 400001),
        ("a" * 129, 400, 400001),
    ],
)
def test_an_id_that_names_nothing(
    client: RunComfyClient, call: str, request_id: str, status: int, code: int
) -> None:
    method = "POST" if call == "cancel" else "GET"
    assert_error(client.http.request(method, f"/v1/requests/{request_id}/{call}"), code, status)


def test_a_call_without_a_token(client: RunComfyClient) -> None:
    for method, path in (("POST", MODEL_PATH), ("GET", "/v1/requests/no-such/status")):
        answer = client.http.request(method, path, headers={"Authorization": ""})
        assert_error(answer, 400004, 401)


@pytest.mark.parametrize(
    "body",
    [b'{"prompt": 5}', b"{", b"[]", b'{"prompt": "x", "start_image_url": 5, "duration": 99}'],
)
def test_an_input_that_does_not_fit(client: RunComfyClient, body: bytes) -> None:
    answer = client.http.post(
        MODEL_PATH, content=body, headers={"Content-Type": "application/json"}
    )
    assert_error(answer, 422001, 422, 400)


def test_a_model_that_does_not_exist(client: RunComfyClient) -> None:
    answer = client.http.post("/v1/models/no/such/model", json={"prompt": "x"})
    assert_error(answer, 400001, 400, 404)


def assert_error(answer: httpx.Response, code: int, *statuses: int) -> None:
    """RunComfy's two fields, and one of the HTTP statuses."""
    document = answer.json()
    assert answer.status_code in statuses, answer.text
    assert document["error_code"] == code
    assert isinstance(document["error_code"], int)
    assert document["error_message"]
