"""`/mcp` over real processes, by the SDK's own client: from a model's name to its video."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.dispatcher import ProgressFnT
from mcp_types import CallToolResult, ResourceLink

from simulator.example import load_kling_example
from simulator.stack import Stack
from tests.support.stack import create_tenant, paid_submits, running_stack

MODEL: Final = load_kling_example().model_id
INPUT: Final = load_kling_example().input
MAX_CALLS: Final = 10


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("stack"), {"GATEWAY_MCP__ENABLED": "true"}) as stack:
        yield stack


@asynccontextmanager
async def connect(stack: Stack, token: str) -> AsyncIterator[Client]:
    headers = {"authorization": f"Bearer {token}"}
    async with (
        httpx2.AsyncClient(headers=headers, trust_env=False, timeout=120) as http,
        Client(streamable_http_client(f"{stack.url}/mcp", http_client=http)) as client,
    ):
        yield client


async def call(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result
    document: dict[str, Any] = result.structured_content
    return document


async def wait_for_end(client: Client, request_id: str, progress: ProgressFnT) -> CallToolResult:
    """Call the tool until the request has ended."""
    arguments = {"request_id": request_id}
    for _ in range(MAX_CALLS):
        result = await client.call_tool("wait_for_request", arguments, progress_callback=progress)
        if result.structured_content["gateway_status"] == "completed":
            return result
    raise AssertionError("it does not end")


async def test_a_model_s_video_is_paid_for_once_and_linked(stack: Stack) -> None:
    tenant = create_tenant(stack, "agent")
    before = paid_submits(stack)
    seen: list[str | None] = []

    async def on_progress(
        progress: float,  # noqa: ARG001 - the SDK passes it by name
        total: float | None,  # noqa: ARG001 - as above
        message: str | None,
    ) -> None:
        seen.append(message)

    async with connect(stack, tenant.key) as client:
        assert (await call(client, "find_models", search="kling"))["total"] > 0
        submit = {"model_id": MODEL, "input": INPUT, "max_cost": 2, "idempotency_key": "a"}
        cost = (await call(client, "estimate", model_id=MODEL, input=INPUT))["estimated_cost"]
        request_id = (await call(client, "submit", **submit))["request_id"]
        assert (await call(client, "submit", **submit))["request_id"] == request_id
        result = await wait_for_end(client, request_id, on_progress)
        (contents,) = (await client.read_resource(f"gateway://requests/{request_id}")).contents
        usage = await call(client, "show_usage")
    assert cost == result.structured_content["cost"] == usage["windows"][0]["usd"]["used"] > 0
    link = result.content[1]
    assert isinstance(link, ResourceLink)
    assert link.uri.startswith("http")
    assert json.loads(contents.text)["output"] == result.structured_content["output"]  # type: ignore[union-attr]  # JSON is text
    assert set(seen) <= {"in_queue", "in_progress"}
    assert paid_submits(stack) == before + 1
