"""Headers of every response; requests without a route; requests that meet a bug."""

import asyncio
import gc
import weakref
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx
import orjson
import pytest
from starlette.types import Message, Receive, Scope, Send

from core.errors import IllegalTransition, NotPermitted
from core.observability.events import OperationalWarning, RequestServed
from core.tenants.api_keys import build_api_key
from core.transactions.admission import Admission, AdmissionResult
from service.api.openapi_document import openapi_document
from service.app import create_app
from service.context import KEYED_ROUTES
from service.http.middleware import GatewayMiddleware, is_repeatable
from service.http.request_context import request_context
from service.tenants.refusal_delays import DelayPolicy, RefusalDelays
from service.tenants.token_bucket import TokenBucket
from tests.support.app import KLING_INPUT, KLING_PATH, AppHarness, open_app
from tests.support.clock import run_ready_tasks
from tests.support.memory_store.jobs import MemoryJobStore


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("abc-123_x.y", True),
        ("x" * 128, True),
        ("x" * 129, False),
        ("has space", False),
        ("inject\u00e9", False),
        ("", False),
    ],
)
async def test_a_sane_request_id_comes_back(
    caller: httpx.AsyncClient, sent: str, *, kept: bool
) -> None:
    answer = await caller.get("/healthz", headers={b"x-request-id": sent.encode("latin-1")})
    given = answer.headers["x-request-id"]
    assert (given == sent) is kept
    assert given


async def test_each_call_is_one_event(app: AppHarness, caller: httpx.AsyncClient) -> None:
    answer = await caller.post(KLING_PATH, json=KLING_INPUT, headers={"x-request-id": "mine"})

    (served,) = app.events_of(RequestServed)
    assert (served.request_id, served.method, served.status) == ("mine", "POST", 202)
    assert (served.tenant, served.job_id) == ("video-team", answer.json()["request_id"])
    assert served.route == "/v1/models/{model_id:path}"
    assert served.code is None


@pytest.mark.parametrize(
    "path", ["/", "/nowhere", "/v1", "/v2/models", "/v1/requests/", "/healthz/"]
)
async def test_an_unknown_address_is_a_404_problem(caller: httpx.AsyncClient, path: str) -> None:
    answer = await caller.get(path)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("DELETE", KLING_PATH, "GET, HEAD, OPTIONS, POST"),
        ("POST", "/v1/models", "GET, HEAD, OPTIONS"),
        ("PUT", "/v1/requests/req_1/status", "GET, HEAD, OPTIONS"),
        ("GET", "/v1/requests/req_1/cancel", "OPTIONS, POST"),
        ("HEAD", "/v1/requests/req_1/cancel", "OPTIONS, POST"),
        ("POST", "/healthz", "GET, HEAD, OPTIONS"),
        ("POST", "/admin/v1/limits", "GET, HEAD, OPTIONS, PATCH"),
    ],
)
async def test_a_wrong_method_is_told_the_right_ones(
    caller: httpx.AsyncClient, method: str, path: str, allow: str
) -> None:
    answer = await caller.request(method, path)
    assert (answer.status_code, answer.headers["allow"]) == (405, allow)


async def test_options_says_what_a_path_takes(caller: httpx.AsyncClient) -> None:
    answer = await caller.options(KLING_PATH)
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS, POST"


async def test_options_of_nowhere_is_404(caller: httpx.AsyncClient) -> None:
    assert (await caller.options("/nowhere")).status_code == 404


async def test_head_is_get_without_a_body(caller: httpx.AsyncClient) -> None:
    got, headed = await caller.get("/healthz"), await caller.head("/healthz")
    assert (headed.status_code, headed.content) == (200, b"")
    assert headed.headers["content-length"] == got.headers["content-length"]


class DefectiveJobStore(MemoryJobStore):
    """Raises an error whose text holds a secret."""

    error: Exception = RuntimeError("secret detail")

    async def admit(self, admission: Admission) -> AdmissionResult:
        assert admission.job.id
        raise self.error


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RuntimeError("secret detail"), "internal_error"),
        (IllegalTransition("secret detail"), "illegal_transition"),
    ],
)
async def test_a_defect_is_a_500_that_tells_operators_and_not_callers(
    app: AppHarness, key: str, error: Exception, code: str
) -> None:
    broken = DefectiveJobStore(app.stores.memory)
    broken.error = error
    app.replace_stores(jobs=broken)
    async with app.client(key) as caller:
        answer = await caller.post(KLING_PATH, json=KLING_INPUT)

    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (500, code)
    assert (problem["billed"], problem["retryable"]) == ("unknown", False)
    assert "secret" not in answer.text
    (trouble,) = app.events_of(OperationalWarning)
    assert trouble.error is error
    assert app.events_of(RequestServed)[-1].status == 500


class RefusingJobStore(MemoryJobStore):
    """Refuses submits with an error that its own frame holds, as the answer of a script."""

    held: weakref.ref["Held"]

    async def admit(self, admission: Admission) -> AdmissionResult:
        beside_the_input = Held(admission)
        self.held = weakref.ref(beside_the_input)
        refusal = NotPermitted("no")
        raise refusal


@dataclass(eq=False)
class Held:
    """What a frame holds."""

    admission: Admission


async def test_a_refused_input_stays_in_memory_no_longer_than_its_call(
    app: AppHarness, key: str
) -> None:
    store = RefusingJobStore(app.stores.memory)
    app.replace_stores(jobs=store)
    gc.disable()
    try:
        async with app.client(key) as caller:
            assert (await caller.post(KLING_PATH, json=KLING_INPUT)).status_code == 403
            assert store.held() is None
    finally:
        gc.enable()


def scope_of(key: str) -> dict[str, Any]:
    return {
        "type": "http",
        "method": "POST",
        "path": KLING_PATH,
        "query_string": b"",
        "headers": [(b"host", b"a"), (b"authorization", f"Bearer {key}".encode())],
        "scheme": "http",
        "server": ("a", 80),
    }


async def test_a_caller_who_leaves_is_counted_and_answered_nothing(
    app: AppHarness, key: str
) -> None:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    await app.serve(scope_of(key), receive, send)

    assert sent == []
    assert app.events_of(RequestServed)[-1].status == 499


@pytest.mark.parametrize("has_key", [True, False])
async def test_a_call_that_the_end_of_a_drain_cut_off_ended_with_500_and_a_trace(
    app: AppHarness, key: str, *, has_key: bool
) -> None:
    sent: list[Message] = []
    asked = asyncio.Event()

    async def receive() -> Message:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Message) -> None:
        sent.append(message)

    scope = scope_of(key)
    if has_key:
        scope["headers"] = [*scope["headers"], (b"idempotency-key", b"one")]
    call = asyncio.create_task(app.serve(scope, receive, send))
    await asked.wait()
    call.cancel()
    await call

    assert sent[0]["status"] == 503
    # A repeat of a submit without a key could be paid for: nothing invites to it.
    assert (b"retry-after" in dict(sent[0]["headers"])) is has_key
    problem = orjson.loads(sent[1]["body"])
    assert (problem["code"], problem["billed"], problem["retryable"]) == (
        "cut_off",
        "unknown",
        has_key,
    )
    assert app.events_of(RequestServed)[-1].code == "cut_off"


async def test_after_many_wrong_keys_an_address_waits_and_a_valid_key_does_not(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    app.replace_resources(
        failed_authentications=RefusalDelays(
            app.clock, DelayPolicy(TokenBucket(2, timedelta(seconds=1)))
        )
    )
    async with app.client("wrong") as stranger:
        for _ in range(2):
            assert (await stranger.get("/v1/usage")).status_code == 401
        slow = asyncio.create_task(stranger.get("/v1/usage"))
        await run_ready_tasks()
        assert (await caller.get("/v1/usage")).status_code == 200
        assert not slow.done()
        app.clock.move(DelayPolicy().delay)
        assert (await slow).status_code == 401
    served = app.events_of(RequestServed)
    assert {event.client for event in served} == {"127.0.0.1"}
    assert [event.tenant for event in served if event.status == 401] == [None] * 3


async def test_a_tenant_that_is_refused_often_waits_and_others_do_not(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    app.replace_resources(
        refusals=RefusalDelays(app.clock, DelayPolicy(TokenBucket(2, timedelta(seconds=1))))
    )
    async with app.client(await app.tenant("other")) as other:
        for _ in range(2):
            assert (await caller.post(KLING_PATH, json={"wrong": 1})).status_code == 422
        slow = asyncio.create_task(caller.post(KLING_PATH, json={"wrong": "x" * 3000}))
        await run_ready_tasks()
        assert (await caller.get("/v1/usage")).status_code == 200
        assert (await other.get("/v1/requests/none")).status_code == 404
        assert not slow.done()
        assert not app.resources.body_budget.small.used  # what waits holds no body
        app.clock.move(DelayPolicy().delay)
        assert (await slow).status_code == 422


@pytest.mark.parametrize("path", ["/v1/batches/x?offset=z", "/v1/requests?limit=x", "/v1/usage"])
async def test_the_tenant_of_a_forged_key_is_not_logged(app: AppHarness, path: str) -> None:
    await app.tenant()
    async with app.client(build_api_key("video-team", bytes(32))) as stranger:
        assert (await stranger.get(path)).status_code == 401
    assert app.events_of(RequestServed)[-1].tenant is None


class _Route:
    def __init__(self, path: str) -> None:
        self.path = path


@pytest.mark.parametrize(
    ("method", "route", "has_key", "repeatable"),
    [
        ("GET", "/v1/requests/{request_id}/result", False, True),
        ("HEAD", "/v1/requests", False, True),
        ("DELETE", "/v1/requests/{request_id}", False, True),
        ("POST", "/v1/requests/{request_id}/cancel", False, True),
        ("POST", "/v1/batches/{batch_id}/cancel", False, True),
        ("POST", "/v1/models/{model_id:path}", True, True),
        ("POST", "/v1/batches", True, True),
        ("POST", "/v1/models/{model_id:path}", False, False),
        ("POST", "/v1/batches", False, False),
        # These do not read the header.
        ("POST", "/v1/deliveries/{delivery_id}/resend", True, False),
        ("PATCH", "/v1/webhooks/endpoints/{endpoint_id}", True, False),
    ],
)
def test_what_may_be_sent_again(
    method: str, route: str, *, has_key: bool, repeatable: bool
) -> None:
    headers = [(b"idempotency-key", b"one")] if has_key else []
    scope = {"method": method, "route": _Route(route), "headers": headers}
    assert is_repeatable(scope) is repeatable


def test_the_routes_that_take_a_key_are_those_that_describe_it() -> None:
    description = openapi_document(create_app(open_app()._open).routes)
    described = {
        path
        for path, methods in description["paths"].items()
        for parameter in methods.get("post", {}).get("parameters", ())
        if parameter["name"] == "Idempotency-Key"
    }
    assert described == {path.replace(":path", "") for path in KEYED_ROUTES}


async def test_a_body_counts_no_longer_while_its_answer_is_read(app: AppHarness) -> None:
    """A long answer goes out in parts, and a caller may read them slowly."""
    budget, held = app.resources.body_budget, list[int]()

    async def answering(scope: Scope, _: Receive, send: Send) -> None:
        body = request_context(scope).body = budget.open("video-team", "192.0.2.1")
        body.grow_to(1000)
        held.append(budget.small.used)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        held.append(budget.small.used)
        await send({"type": "http.response.body", "body": b""})

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        state = {"state": {"resources": app.resources}}
        await GatewayMiddleware(answering)({**scope, **state}, receive, send)

    transport = httpx.ASGITransport(serve)
    async with httpx.AsyncClient(transport=transport, base_url="http://a") as caller:
        await caller.get("/healthz")
    assert held == [1000, 0]
