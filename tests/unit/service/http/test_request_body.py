"""A body is read after its key was checked, within a budget, plain or as gzip."""

import gzip
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Final

import httpx
import orjson
import pytest

from core.tenants.api_keys import Scope, build_api_key
from service.parsing.body_budget import BodyBudget, BodyBudgetPolicy
from service.parsing.json_body import BodyLimits
from tests.support.app import KLING_INPUT, KLING_PATH, POLICY, AppHarness
from tests.support.asgi import AsgiCall

BODY: Final = orjson.dumps(KLING_INPUT)
BOM: Final = b"\xef\xbb\xbf"
GZIP: Final = {"content-encoding": "gzip"}
MIB: Final = 2**20

WITH_BODY: Final = (
    ("POST", KLING_PATH),
    ("POST", "/v1/batches"),
    ("POST", "/v1/webhooks/endpoints"),
    ("POST", "/v1/webhooks/replay"),
    ("POST", "/admin/v1/tenants"),
    ("PUT", "/admin/v1/tenants"),
)


@pytest.mark.parametrize(("method", "path"), WITH_BODY)
@pytest.mark.parametrize("headers", [{}, {"content-length": "1000000000"}, GZIP, {"a": "b"}])
async def test_without_a_valid_key_a_body_is_not_read(
    app: AppHarness, method: str, path: str, headers: dict[str, str]
) -> None:
    app.enable_admin_api("operators-token-of-32-characters")
    await app.tenant()
    forged = build_api_key("video-team", bytes(32))
    call = await AsgiCall.begin(
        app.serve,
        path,
        {"authorization": f"Bearer {forged}", **headers},
        method=method,
        body=b"{",
    )
    assert call.status == 401
    assert call._body == [b"{"]


async def test_a_key_of_another_scope_does_not_get_a_body_read(app: AppHarness) -> None:
    reader = await app.tenant(scopes=frozenset({Scope.READ}))
    call = await AsgiCall.begin(
        app.serve, KLING_PATH, {"authorization": f"Bearer {reader}"}, method="POST", body=b"{"
    )
    assert call.status == 403
    assert call._body == [b"{"]


@pytest.mark.parametrize(
    ("encode", "headers"),
    [
        (lambda body: BOM + body, {}),
        (gzip.compress, GZIP),
        (lambda body: gzip.compress(BOM + body), GZIP),
    ],
    ids=["bom", "gzip", "gzip-and-bom"],
)
async def test_the_input_is_what_the_caller_meant(
    app: AppHarness,
    caller: httpx.AsyncClient,
    encode: Callable[[bytes], bytes],
    headers: dict[str, str],
) -> None:
    answer = await caller.post(KLING_PATH, content=encode(BODY), headers=headers)
    assert answer.status_code == 202
    assert await app.stores.jobs.load_input(answer.json()["request_id"]) == BODY


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"not gzip", 400, "malformed_request"),
        (gzip.compress(BODY)[:-4], 400, "malformed_request"),
        (gzip.compress(bytes(8 * MIB)), 413, "body_too_large"),
    ],
    ids=["plain", "truncated", "bomb"],
)
async def test_a_broken_or_endless_gzip_is_refused(
    caller: httpx.AsyncClient, body: bytes, status: int, code: str
) -> None:
    answer = await caller.post(KLING_PATH, content=body, headers=GZIP)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_beyond_the_budget_a_body_is_refused_and_a_small_one_is_not(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    limits = BodyLimits(MIB, timedelta(seconds=5))
    app.replace_resources(
        policy=replace(POLICY, body_limits=limits),
        body_budget=BodyBudget(BodyBudgetPolicy(2 * MIB, MIB)),
    )
    app.resources.body_budget.open("video-team", "").grow_to(MIB)

    large = orjson.dumps({**KLING_INPUT, "prompt": "x" * 100_000})
    refused = await caller.post(KLING_PATH, content=large)
    assert (refused.status_code, refused.json()["code"]) == (503, "too_many_bodies")
    assert (refused.json()["retryable"], refused.json()["billed"]) == (True, "no")
    assert int(refused.headers["retry-after"]) >= 1
    packed = await caller.post(KLING_PATH, content=gzip.compress(large), headers=GZIP)
    assert packed.json()["code"] == "too_many_bodies"
    assert (await caller.post(KLING_PATH, content=BODY)).status_code == 202


@pytest.mark.parametrize("body", [BODY, b"{", b"x" * 5000, gzip.compress(BODY)])
@pytest.mark.parametrize("headers", [{}, GZIP])
async def test_every_answer_gives_the_budget_back(
    app: AppHarness, caller: httpx.AsyncClient, body: bytes, headers: dict[str, str]
) -> None:
    await caller.post(KLING_PATH, content=body, headers=headers)
    assert app.resources.body_budget.small.used == 0
    assert not app.resources.body_budget.small.by_owner


async def test_a_caller_who_waits_for_the_result_holds_no_budget(app: AppHarness, key: str) -> None:
    headers = {"authorization": f"Bearer {key}", "prefer": "wait=50"}
    call = await AsgiCall.begin(app.serve, KLING_PATH, headers, method="POST", body=BODY)
    assert call.status is None
    assert app.resources.body_budget.small.used == 0
    await call.disconnect()


async def test_other_operations_read_small_bodies_only(caller: httpx.AsyncClient) -> None:
    endpoint = {"url": "https://example.com/" + "x" * 70_000}
    answer = await caller.post("/v1/webhooks/endpoints", json=endpoint)
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
