"""`/mcp` over in-memory stores, called by the SDK's own client."""

import json
import subprocess
import sys
from base64 import b64decode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import httpx
import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from mcp_types import (
    BlobResourceContents,
    CallToolResult,
    ImageContent,
    ResourceLink,
    TextResourceContents,
)

from core.archive import ArchivedOutput, ArchiveError, ArchiveMode
from core.files.records import file_object_name
from core.jobs.job import Trigger
from core.money import MicroUsd
from core.observability.events import OperationalWarning, RequestServed
from core.operators.operator import Role
from core.store.codecs import JOB_CODEC
from core.tenants.api_keys import Scope
from core.tenants.limits import Limits
from core.transactions.job_update import Change, WriteResult
from service.admin.roles import ROLE_OF_OPERATION
from service.app import create_app
from service.context import McpPolicy
from service.mcp.tools import TENANT_TOOLS
from tests.support.app import BASE_URL, KLING, KLING_INPUT, AppHarness, create_operator, open_app
from tests.support.object_store import MemoryObjectStore

ROOT: Final = Path(__file__).parents[4]
URL: Final = f"{BASE_URL}/mcp"
SUBMIT: Final = {"model_id": KLING, "input": KLING_INPUT, "idempotency_key": "order-7"}
Modes: Final = ("legacy", "auto")


@pytest.fixture
def app() -> AppHarness:
    """An API with the server on."""
    app = open_app()
    app.replace_resources(policy=replace(app.resources.policy, mcp=McpPolicy(enabled=True)))
    return app


@asynccontextmanager
async def connect(app: AppHarness, token: str, mode: Any = "auto") -> AsyncIterator[Client]:  # noqa: ANN401 - the SDK's type is private
    """The SDK's client, as whoever has `token`."""
    headers = {"authorization": f"Bearer {token}"}
    transport = httpx2.ASGITransport(app.serve)
    async with (
        httpx2.AsyncClient(transport=transport, headers=headers, trust_env=False) as http,
        Client(streamable_http_client(URL, http_client=http), mode=mode) as client,
    ):
        yield client


def document(result: CallToolResult) -> Mapping[str, Any]:
    """The document of an answer, which is its text too."""
    structured: Mapping[str, Any] = result.structured_content
    assert json.loads(result.content[0].text) == structured  # type: ignore[union-attr]  # the first is text
    return structured


@pytest.mark.parametrize("mode", Modes)
async def test_a_model_is_found_priced_and_run(app: AppHarness, mode: str) -> None:
    async with connect(app, await app.tenant(), mode) as client:
        found = document(await client.call_tool("find_models", {"search": "kling", "limit": 1}))
        shown = document(await client.call_tool("show_model", {"model_id": KLING}))
        dry = {"model_id": KLING, "input": KLING_INPUT}
        estimate = document(await client.call_tool("estimate", dry))
        submitted = document(await client.call_tool("submit", {**SUBMIT, "max_cost": 2}))
        waiting = {"request_id": submitted["request_id"], "seconds": 0}
        status = document(await client.call_tool("wait_for_request", waiting))
        one = {"request_id": submitted["request_id"]}
        cancelled = document(await client.call_tool("cancel_request", one))
        ended = document(await client.call_tool("wait_for_request", waiting))
        usage = document(await client.call_tool("show_usage", {}))
    assert len(found["models"]) == 1
    assert "prompt" in shown["input_schema"]["properties"]
    assert estimate["estimated_cost"] == 0.63
    assert status["gateway_status"] == "in_queue"
    assert cancelled["outcome"] == "cancelled"
    assert ended["gateway_status"] == "cancelled"
    assert usage["tenant"] == "video-team"


async def test_a_repeated_submit_is_the_same_request(app: AppHarness) -> None:
    async with connect(app, await app.tenant()) as client:
        first = document(await client.call_tool("submit", SUBMIT))
        again = document(await client.call_tool("submit", SUBMIT))
        other = document(await client.call_tool("submit", {**SUBMIT, "idempotency_key": "8"}))
        quoted = {**SUBMIT, "idempotency_key": 'a"\\b'}
        with_quotes = document(await client.call_tool("submit", quoted))
    ids = [one["request_id"] for one in (first, again, other, with_quotes)]
    assert ids[0] == ids[1]
    assert len(set(ids)) == 3


@pytest.mark.parametrize("key", [None, "", 7, True, ["a"], {}])
async def test_what_is_no_text_is_no_idempotency_key(app: AppHarness, key: object) -> None:
    """The call could not be repeated without a second payment."""
    async with connect(app, await app.tenant()) as client:
        result = await client.call_tool("submit", {**SUBMIT, "idempotency_key": key})
    assert (result.is_error, document(result)["code"]) == (True, "invalid_input")
    assert [error["path"] for error in document(result)["errors"]] == ["/idempotency_key"]
    assert not app.stores.memory.jobs


@pytest.mark.parametrize("mode", Modes)
async def test_every_tool_is_described(app: AppHarness, mode: str) -> None:
    async with connect(app, await app.tenant(), mode) as client:
        tools = (await client.list_tools()).tools
    assert [tool.name for tool in tools] == [tool.name for tool in TENANT_TOOLS]
    for tool in tools:
        assert tool.description
        assert "$ref" not in json.dumps(tool.input_schema)
        assert tool.annotations is not None
        assert set(tool.input_schema["required"]) <= set(tool.input_schema["properties"])
    paid = [
        tool.name for tool in tools if not (tool.annotations and tool.annotations.read_only_hint)
    ]
    assert paid == ["submit", "cancel_request"]


@pytest.mark.parametrize(
    ("tool", "arguments", "code"),
    [
        ("submit", {**SUBMIT, "input": {"prompt": 5}}, "invalid_input"),
        ("submit", {**SUBMIT, "model_id": "no/such"}, "unknown_model"),
        ("submit", {**SUBMIT, "max_cost": 0.01}, "cost_above_limit"),
        ("submit", {"model_id": KLING, "input": KLING_INPUT}, "invalid_input"),
        ("submit", {**SUBMIT, "dry_run": True}, "invalid_input"),
        ("submit", {**SUBMIT, "input": None}, "invalid_input"),
        ("submit", {**SUBMIT, "max_cost": None}, "malformed_request"),
        ("submit", {**SUBMIT, "idempotency_key": "a\nb"}, "malformed_request"),
        ("submit", {**SUBMIT, "input": {"prompt": 10**30}}, "malformed_request"),
        ("submit", {**SUBMIT, "input": []}, "malformed_request"),
        ("submit", {**SUBMIT, "model_id": ["a"]}, "unknown_model"),
        ("estimate", {"model_id": "../../admin/v1/tenants", "input": {}}, "malformed_request"),
        ("show_model", {"model_id": "../requests"}, "unknown_model"),
        ("show_request", {"request_id": "../models"}, "not_found"),
        ("show_request", {"request_id": ""}, "not_found"),
        ("show_result", {"request_id": "019aac77-eeb8-7a3d-9c1e-5b7f20d4e681"}, "not_found"),
        ("wait_for_request", {"request_id": "a", "seconds": 10**9}, "invalid_input"),
        ("list_requests", {"limit": 10**9}, "malformed_request"),
        ("list_requests", {"status": "\u0000"}, "malformed_request"),
        ("show_usage", {"tenant": "other"}, "invalid_input"),
    ],
)
async def test_a_refusal_is_the_problem_of_the_api(
    app: AppHarness, tool: str, arguments: dict[str, Any], code: str
) -> None:
    async with connect(app, await app.tenant()) as client:
        result = await client.call_tool(tool, arguments)
    assert result.is_error
    problem = document(result)
    assert (problem["code"], problem["billed"]) == (code, "no")


async def test_requests_of_other_tenants_do_not_exist(app: AppHarness) -> None:
    async with connect(app, await app.tenant()) as client:
        request_id = document(await client.call_tool("submit", SUBMIT))["request_id"]
    async with connect(app, await app.tenant("stranger")) as stranger:
        for tool in ("show_request", "show_result", "wait_for_request", "cancel_request"):
            problem = document(await stranger.call_tool(tool, {"request_id": request_id}))
            assert problem["code"] == "not_found"
        assert document(await stranger.call_tool("list_requests", {}))["requests"] == []
        assert (await stranger.list_resources()).resources == []
        with pytest.raises(MCPError):
            await stranger.read_resource(f"gateway://requests/{request_id}")


async def test_the_scopes_and_budgets_of_the_key_hold(app: AppHarness) -> None:
    reader = await app.tenant("reader", scopes=frozenset({Scope.READ}))
    poor = await app.tenant("poor", limits=Limits(usd_per_day=MicroUsd(100_000)))
    async with connect(app, reader) as client:
        assert document(await client.call_tool("show_usage", {}))["tenant"] == "reader"
        for tool, arguments in (("submit", SUBMIT), ("cancel_request", {"request_id": "a"})):
            assert document(await client.call_tool(tool, arguments))["code"] == "not_permitted"
    async with connect(app, poor) as client:
        assert document(await client.call_tool("submit", SUBMIT))["code"] == "budget_reached"


async def test_requests_and_models_are_resources(app: AppHarness) -> None:
    async with connect(app, await app.tenant()) as client:
        request_id = document(await client.call_tool("submit", SUBMIT))["request_id"]
        (listed,) = (await client.list_resources()).resources
        templates = (await client.list_resource_templates()).resource_templates
        (request,) = (await client.read_resource(listed.uri)).contents
        (model,) = (await client.read_resource(f"gateway://models/{KLING}")).contents
        for uri in (
            "gateway://requests/",
            "file:///etc/passwd",
            "gateway://a/b",
            f"{listed.uri}/outputs/0",
        ):
            with pytest.raises(MCPError):
                await client.read_resource(uri)
    assert request_id in listed.uri
    assert len(templates) == 3
    assert isinstance(request, TextResourceContents)
    assert json.loads(request.text)["gateway_status"] == "in_queue"
    assert isinstance(model, TextResourceContents)
    assert json.loads(model.text)["model_id"] == KLING


async def completed(app: AppHarness, request_id: str, *outputs: ArchivedOutput) -> None:
    """Let a request complete with these outputs; those with a file id are kept."""
    now = app.clock.now()
    job = JOB_CODEC.decode(app.stores.memory.jobs[request_id].doc)
    for trigger in (Trigger.CLAIMED, Trigger.ACCEPTED, Trigger.FINISHED, Trigger.COLLECTED):
        changes: dict[str, Any] = {"next_run_at": now}
        if trigger is Trigger.COLLECTED:
            kept = {"archive": ArchiveMode.AFTER, "archived_at": now, "outputs": outputs}
            secrets = {"link_secret": "5e" * 32, "kept_until": now + timedelta(days=30)}
            changes = {"next_run_at": None, "finished_at": now, **kept, **secrets}
        before, job = job, job.transition(trigger, now, **changes)
        output = json.dumps({"images": [one.source_url for one in outputs]}).encode()
        assert await app.stores.jobs.store(Change(before, job, output=output)) is WriteResult.STORED
    objects = app.resources.files.objects
    assert isinstance(objects, MemoryObjectStore)
    objects.put(file_object_name(job.tenant, "file_1"), PICTURE)


PICTURE: Final = b"\x89PNG picture"
LINKS: Final = tuple(f"https://media.runcomfy.net/{number}.png" for number in range(3))
SMALL: Final = ArchivedOutput("images[0]", LINKS[0], "file_1", "image/png", len(PICTURE), "ab" * 32)
LARGE: Final = ArchivedOutput("images[1]", LINKS[1], "file_1", "image/png", 2**23, "ab" * 32)
FAILED: Final = ArchivedOutput("images[2]", LINKS[2], error=ArchiveError.UNSUPPORTED)


async def test_a_result_has_small_pictures_and_links_to_the_others(app: AppHarness) -> None:
    async with connect(app, await app.tenant()) as client:
        request_id = document(await client.call_tool("submit", SUBMIT))["request_id"]
        await completed(app, request_id, SMALL, LARGE, FAILED)
        result = await client.call_tool("wait_for_request", {"request_id": request_id})
        uri = f"gateway://requests/{request_id}/outputs"
        (small,) = (await client.read_resource(f"{uri}/0")).contents
        (large,) = (await client.read_resource(f"{uri}/1")).contents
        for index in ("2", "3", "x"):
            with pytest.raises(MCPError):
                await client.read_resource(f"{uri}/{index}")
    _, picture, *links = result.content
    assert isinstance(picture, ImageContent)
    assert (b64decode(picture.data), picture.mime_type) == (PICTURE, "image/png")
    assert [type(link) for link in links] == [ResourceLink, ResourceLink]
    assert [getattr(link, "name", "") for link in links] == ["images[1]", "images[2]"]
    assert isinstance(small, BlobResourceContents)
    assert b64decode(small.blob) == PICTURE
    assert isinstance(large, TextResourceContents)
    assert "/outputs/1?" in large.text


NO_ROOM: Final = replace(SMALL, source_url=LINKS[1], file_id=None, error=ArchiveError.LIMIT)


async def test_an_output_for_which_there_was_no_room_is_linked(app: AppHarness) -> None:
    """Its size is known, but it is not kept."""
    async with connect(app, await app.tenant()) as client:
        request_id = document(await client.call_tool("submit", SUBMIT))["request_id"]
        await completed(app, request_id, NO_ROOM, SMALL)
        result = await client.call_tool("show_result", {"request_id": request_id})
        with pytest.raises(MCPError, match="no such resource"):
            await client.read_resource(f"gateway://requests/{request_id}/outputs/0")
    assert not result.is_error
    assert [type(one) for one in result.content[1:]] == [ResourceLink, ResourceLink]
    assert getattr(result.content[1], "uri", "") == LINKS[1]
    lost, kept = document(result)["outputs"]
    assert ("bytes" in lost, kept["bytes"]) == (False, len(PICTURE))


async def test_a_defect_is_reported_and_has_no_details(app: AppHarness) -> None:
    class Broken:
        def __getattr__(self, name: str) -> None:
            raise ZeroDivisionError("secret")

    key = await app.tenant()
    async with connect(app, key) as client:
        await client.list_tools()
        app.replace_resources(model_cache=Broken())
        result = await client.call_tool("show_model", {"model_id": KLING})
    assert document(result)["code"] == "internal_error"
    assert "secret" not in str(result)
    assert {event.route for event in app.events_of(RequestServed)} == {"/mcp"}
    (warning,) = app.events_of(OperationalWarning)
    assert isinstance(warning.error, ZeroDivisionError)


async def test_an_operator_only_reads(app: AppHarness) -> None:
    app.enable_admin_api("a" * 40)
    await app.tenant()
    token = await create_operator(app, "anna", [Role.READ])
    async with connect(app, token) as client:
        tools = (await client.list_tools()).tools
        listed = document(await client.call_tool("list_tenants", {}))
        shown = document(await client.call_tool("show_tenant", {"tenant": "video-team"}))
        with pytest.raises(MCPError):
            await client.call_tool("submit", SUBMIT)
        assert (await client.list_resource_templates()).resource_templates == []
    assert {ROLE_OF_OPERATION[tool.name] for tool in tools} == {Role.READ}
    assert len(tools) > 10
    assert listed["tenants"][0]["tenant"] == shown["tenant"] == "video-team"


async def test_a_tenant_has_no_tool_of_operators(app: AppHarness) -> None:
    app.enable_admin_api("a" * 40)
    async with connect(app, await app.tenant()) as client:
        with pytest.raises(MCPError):
            await client.call_tool("list_tenants", {})


INITIALIZE: Final = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "0"},
    },
}
ACCEPT: Final = {"accept": "application/json, text/event-stream"}


async def post(app: AppHarness, key: str | None, **headers: str) -> httpx.Response:
    """Begin as a client does, with further headers."""
    async with app.client(key) as http:
        return await http.post("/mcp", json=INITIALIZE, headers={**ACCEPT, **headers})


async def test_without_a_key_nothing_is_served(app: AppHarness) -> None:
    for key in (None, "wrong", "rcg_wrong", "rco_wrong"):
        answer = await post(app, key)
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
        assert answer.headers["www-authenticate"].startswith("Bearer")
    app.enable_admin_api("a" * 40)
    for key in (None, "wrong", "b" * 40):
        assert (await post(app, key)).status_code == 401
    assert (await post(app, "a" * 40)).status_code == 200


async def test_a_token_of_operators_is_none_where_they_have_a_listener(app: AppHarness) -> None:
    app.enable_admin_api("a" * 40)
    policy = replace(app.resources.policy, own_admin_listener=True)
    app.replace_resources(policy=policy)
    assert (await post(app, "a" * 40)).status_code == 401


async def test_it_is_off_by_default() -> None:
    app = open_app()
    assert (await post(app, await app.tenant())).status_code == 404


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        (None, 200),
        ("https://agent.example", 200),
        ("https://gateway.example", 200),
        ("https://attacker.example", 403),
        ("https://agent.example.attacker.example", 403),
        (BASE_URL, 403),
        ("null", 403),
        ("", 403),
    ],
)
async def test_pages_of_other_origins_are_refused(
    app: AppHarness, origin: str | None, status: int
) -> None:
    """Also of the address that was called: after a DNS rebinding it is the attacker's."""
    policy = app.resources.policy
    app.replace_resources(
        policy=replace(
            policy,
            mcp=McpPolicy(enabled=True, allowed_origins=frozenset({"https://agent.example"})),
            links=replace(policy.links, public_url="https://gateway.example"),
        )
    )
    headers = {} if origin is None else {"origin": origin}
    assert (await post(app, await app.tenant(), **headers)).status_code == status


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"x" * 5000, 413),
        (b"{", 400),
        (b"[" * 4000, 400),
        (b"\xff", 400),
        (b"[]", 400),
        (b"", 400),
        (b'[{"jsonrpc":"2.0","id":1,"method":"ping"}]', 400),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping"}{}', 400),
        (b'{"jsonrpc":"2.0","id":1,"method":5}', 400),
        (b'{"jsonrpc":"2.0","id":1,"method":"\\ud800"}', 400),
        (b'{"jsonrpc":"2.0","id":"\\ud800","method":"ping"}', 400),
        (b'{"jsonrpc":"2.0","id":1e400,"method":"ping"}', 202),
        (b'{"jsonrpc":"2.0","id":' + b"9" * 3000 + b',"method":"ping"}', 200),
        (b'{"jsonrpc":"2.0","id":"' + b"x" * 3000 + b'","method":"ping"}', 200),
        (b'{"jsonrpc":"2.0","id":1,"method":"no/such"}', 200),
        (b'{"jsonrpc":"2.0","id":1,"result":{}}', 202),
        (b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}', 202),
    ],
)
async def test_a_hostile_body_is_refused(app: AppHarness, content: bytes, status: int) -> None:
    async with app.client(await app.tenant()) as http:
        headers = {**ACCEPT, "content-type": "application/json"}
        answer = await http.post("/mcp", content=content, headers=headers)
    assert answer.status_code == status
    assert "Traceback" not in answer.text
    assert not app.events_of(OperationalWarning)


async def test_millions_of_values_are_refused_before_the_sdk_makes_them(app: AppHarness) -> None:
    policy = app.resources.policy
    limits = replace(policy.body_limits, max_bytes=16 * 2**20)
    app.replace_resources(policy=replace(policy, body_limits=limits))
    many = b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":[' + b"[]," * 100_000 + b"0]}}"
    async with app.client(await app.tenant()) as http:
        headers = {**ACCEPT, "content-type": "application/json"}
        answer = await http.post("/mcp", content=many, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_request")


async def test_calls_that_submit_give_the_budget_of_bodies_back(app: AppHarness) -> None:
    """A call and the operation that it calls have a body each."""
    async with connect(app, await app.tenant()) as client:
        for _ in range(3):
            await client.call_tool("submit", SUBMIT)
            await client.call_tool("estimate", {"model_id": KLING, "input": {"wrong": 1}})
    budget = app.resources.body_budget
    assert (budget.small.used, budget.large.used, budget.small.by_owner) == (0, 0, {})


@pytest.mark.parametrize("request_id", ["missing", None, True, 1.5, [], {}])
async def test_nothing_is_paid_for_where_no_answer_can_be_sent(
    app: AppHarness, request_id: object
) -> None:
    """JSON-RPC answers no notification: the caller would not learn that it was submitted."""
    params = {"name": "submit", "arguments": SUBMIT}
    message = {"jsonrpc": "2.0", "id": request_id, "method": "tools/call", "params": params}
    if request_id == "missing":
        del message["id"]
    async with app.client(await app.tenant()) as http:
        assert (await http.post("/mcp", json=message, headers=ACCEPT)).status_code == 202
    assert not app.stores.memory.jobs


@pytest.mark.parametrize("name", ["mcp-session-id", "last-event-id"])
async def test_a_session_of_another_tenant_is_none(app: AppHarness, name: str) -> None:
    """The tenant is that of the key, whatever the headers name."""
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "show_usage"}}
    await app.tenant()
    async with app.client(await app.tenant("stranger")) as http:
        headers = {**ACCEPT, name: "video-team"}
        answer = await http.post("/mcp", json=message, headers=headers)
    assert '\\"tenant\\":\\"stranger\\"' in answer.text
    assert "video-team" not in answer.text


async def test_there_are_no_sessions_and_answers_are_not_cached(app: AppHarness) -> None:
    """So no stream is left open: GET and DELETE have nothing to do."""
    key = await app.tenant()
    answer = await post(app, key)
    assert "mcp-session-id" not in answer.headers
    assert "no-" in answer.headers["cache-control"]
    async with app.client(key) as http:
        for method in ("GET", "PUT", "DELETE"):
            assert (await http.request(method, "/mcp", headers=ACCEPT)).status_code == 405


@pytest.mark.parametrize("enabled", [True, False])
async def test_the_sdk_is_loaded_at_the_start_where_the_server_is_on(
    app: AppHarness,
    enabled: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    """The first request would otherwise hold up all others for half a second."""
    policy = replace(app.resources.policy, mcp=McpPolicy(enabled=enabled))
    app.replace_resources(policy=policy)
    api = create_app(app._open)
    (endpoint,) = (one.app for one in api.router.routes if getattr(one, "path", "") == "/mcp")  # type: ignore[attr-defined]  # Starlette's route
    async with api.router.lifespan_context(api):
        assert ("server" in vars(endpoint)) is enabled


def test_the_service_does_not_import_the_sdk() -> None:
    program = "import sys, service.app, service.composition; sys.exit('mcp_types' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)
