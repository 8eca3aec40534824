"""Clients that people wrote for RunComfy, each strict in its own way, on both APIs."""

from typing import Any

import httpx
import pytest

from tests.conformance.runcomfy_client import RunComfyClient

# What RunComfy's own clients take as the end of a request, and as open.
ACCEPTED_ENDS = {"completed", "succeeded", "failed", "cancelled", "canceled"}
ACCEPTED_OPEN = {"in_queue", "in_progress", "pending", "waiting", "starting", "processing"}


class Unfinished(Exception):
    """A result that its client does not take for a success."""


def output_if_succeeded(client: RunComfyClient, marks: str = "") -> Any:  # noqa: ANN401 - JSON
    """Poll the result; raise unless its last word is `succeeded`."""
    request = client.submit(marks)
    result = client.poll_until(
        request["result_url"], lambda found: found["status"] not in ("in_queue", "in_progress")
    )
    if result["status"] != "succeeded":
        raise Unfinished(result["status"], result.get("error"))
    return result["output"]


def output_once_completed(client: RunComfyClient, marks: str = "") -> Any:  # noqa: ANN401 - JSON
    """Poll the status until it is `completed`, then take the output."""
    request = client.submit(marks)
    client.poll(request["status_url"], {"completed"})
    return client.get(request["result_url"]).get("output")


def output_by_either_word(client: RunComfyClient, marks: str = "") -> Any:  # noqa: ANN401 - JSON
    """Poll the result alone, as RunComfy's nodes do: any other word is an error."""
    request = client.submit(marks)

    def is_ended(result: dict[str, Any]) -> bool:
        assert result["status"] in ACCEPTED_ENDS | ACCEPTED_OPEN
        return result["status"] in ACCEPTED_ENDS

    result = client.poll_until(request["result_url"], is_ended, include_cost="true")
    if result["status"] not in ("completed", "succeeded"):
        raise Unfinished(result["status"], result.get("error"))
    return result["output"]


def test_a_client_that_raises_unless_succeeded(client: RunComfyClient) -> None:
    assert output_if_succeeded(client)["video"]
    with pytest.raises(Unfinished, match="failed"):
        output_if_succeeded(client, "[sim:failed]")


def test_a_client_that_stops_on_completed(client: RunComfyClient) -> None:
    assert output_once_completed(client)["video"]
    assert output_once_completed(client, "[sim:failed]") is None


def test_a_client_that_accepts_both_words(client: RunComfyClient, words: str) -> None:
    assert words
    assert output_by_either_word(client)["video"]
    with pytest.raises(Unfinished, match="failed"):
        output_by_either_word(client, "[sim:failed]")


def test_the_gateway_repeats_the_words_that_runcomfy_used(
    client: RunComfyClient, words: str
) -> None:
    """Of a run that ended; also of one that is cancelled at RunComfy."""
    request = client.submit()
    result = client.poll(request["result_url"], ACCEPTED_ENDS)["status"]
    status = client.get(request["status_url"])["status"]
    used = {"documented": ("completed", "succeeded"), "alternative": ("succeeded", "completed")}
    assert (status, result) == used[words]


def test_an_error_is_read_under_any_of_the_names(client: RunComfyClient) -> None:
    answer = client.http.get("/v1/requests/no-such-request/result")
    with pytest.raises(httpx.HTTPStatusError):
        answer.raise_for_status()
    document = answer.json()
    names = ("error_message", "message", "error", "detail")
    assert isinstance(next(document[name] for name in names if document.get(name)), str)
