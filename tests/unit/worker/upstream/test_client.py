from datetime import timedelta
from typing import Final

import httpx
import pytest

from core.jobs.job import CancelOutcome
from core.observability.events import UpstreamCalled
from tests.support.upstream_client import HarnessFactory
from worker.ports import (
    Accepted,
    Indeterminate,
    InProgress,
    Rejected,
    RequestNotFound,
    RunCompleted,
    Unreachable,
    Upstream,
)
from worker.upstream.client import RunComfyClient

TOKEN: Final = "tok-5ecret-0123456789"


def test_the_client_is_the_port(harness_for: HarnessFactory) -> None:
    client: Upstream = harness_for(lambda _: httpx.Response(200)).client

    assert isinstance(client, RunComfyClient)


async def test_submit_sends_the_body_byte_for_byte_by_the_paid_road(
    harness_for: HarnessFactory,
) -> None:
    desk = harness_for(lambda _: httpx.Response(200, json={"request_id": "r-1"}))

    answer = await desk.client.submit("kling/kling-3.0/x", b'{ "b": 1,  "a": 2 }')

    assert answer == Accepted("r-1")
    [sent] = desk.posts
    assert (sent.method, str(sent.url)) == (
        "POST",
        "https://runcomfy.test/v1/models/kling/kling-3.0/x",
    )
    assert sent.content == b'{ "b": 1,  "a": 2 }'
    assert sent.headers["authorization"] == f"Bearer {TOKEN}"
    assert sent.headers["content-type"] == "application/json"
    assert desk.reads == []


async def test_reads_go_by_the_other_road(harness_for: HarnessFactory) -> None:
    desk = harness_for(lambda _: httpx.Response(200, json={"status": "completed", "output": "u"}))

    await desk.client.get_status("r-1")
    answer = await desk.client.get_result("r-1")

    assert isinstance(answer, RunCompleted)
    assert [str(sent.url) for sent in desk.reads] == [
        "https://runcomfy.test/v1/requests/r-1/status",
        "https://runcomfy.test/v1/requests/r-1/result?include_cost=true",
    ]
    assert desk.posts == []


async def test_cancel_is_a_post_without_a_body_by_the_truthful_road(
    harness_for: HarnessFactory,
) -> None:
    desk = harness_for(lambda _: httpx.Response(200, json={"outcome": "cancelled"}))

    assert await desk.client.cancel("r-1") == CancelOutcome.CANCELLED
    [sent] = desk.posts
    assert (sent.url.path, sent.content) == ("/v1/requests/r-1/cancel", b"")


async def test_ids_that_would_lead_elsewhere_are_not_asked_for(harness_for: HarnessFactory) -> None:
    desk = harness_for(lambda _: httpx.Response(200))
    client = desk.client

    assert isinstance(await client.submit("../requests/r-1/cancel", b"{}"), Rejected)
    assert isinstance(await client.get_status("../x"), RequestNotFound)
    assert isinstance(await client.get_result("a b"), RequestNotFound)
    assert isinstance(await client.cancel(""), RequestNotFound)
    assert desk.posts + desk.reads == []


async def test_a_redirect_is_not_followed(harness_for: HarnessFactory) -> None:
    desk = harness_for(lambda _: httpx.Response(307, headers={"Location": "https://evil.test/"}))

    submitted = await desk.client.submit("m", b"{}")
    read = await desk.client.get_status("r-1")

    assert isinstance(submitted, Indeterminate)
    assert isinstance(read, Unreachable)
    assert (submitted.fault.kind, read.fault.kind) == ("redirect", "redirect")
    assert len(desk.posts + desk.reads) == 2


async def test_each_call_is_told_once_with_its_outcome(harness_for: HarnessFactory) -> None:
    answers = iter([httpx.Response(200, json={"status": "running"}), httpx.Response(502)])
    desk = harness_for(lambda _: next(answers))
    client = desk.client

    assert isinstance(await client.get_status("r-1"), InProgress)
    await client.submit("m", b"{}")

    second = timedelta(seconds=1)
    assert desk.events == [
        UpstreamCalled("status", "ok", 200, second),
        UpstreamCalled("submit", "http_5xx", 502, second),
    ]


async def test_a_failed_request_is_a_good_call(harness_for: HarnessFactory) -> None:
    desk = harness_for(lambda _: httpx.Response(200, json={"status": "failed"}))

    await desk.client.get_result("r-1")

    assert [call.outcome for call in desk.calls] == ["ok"]


async def test_an_exception_that_quotes_the_token_is_scrubbed(harness_for: HarnessFactory) -> None:
    def quote(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadError(f"with {request.headers['authorization']}")

    answer = await harness_for(quote).client.submit("m", b"{}")

    assert isinstance(answer, Indeterminate)
    assert answer.fault.message == "ReadError: with Bearer [redacted]"


async def test_nothing_but_the_request_holds_the_token(
    harness_for: HarnessFactory, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(0)
    desk = harness_for(lambda _: httpx.Response(401, json={"message": f"bad {TOKEN}"}))

    answer = await desk.client.submit("m", b"{}")

    assert TOKEN not in f"{answer!r} {desk.events!r} {caplog.text} {vars(desk.line())!r}"
