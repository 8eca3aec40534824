"""The rules that `StrictRoute` adds to FastAPI, for every operation that uses it."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import httpx
import pytest

from core.tenants.api_keys import ApiKey
from core.tenants.tenant import Tenant
from core.webhooks.config import WebhookConfig
from service.parsing.json_body import BodyLimits
from tests.support.app import AppHarness, api_operations

TOKEN = "operators-token-of-32-characters"
TENANTS = "/admin/v1/tenants"
JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b'{"tenant": "ads", "tenant": "ads"}', JSON, 400),
        (b'{"tenant": "ads"', JSON, 400),
        (b"[]", JSON, 400),
        (b'{"tenant": "ads"}', {"content-type": "text/plain"}, 415),
        (b'{"tenant": "ads", "webhook": "' + b"x" * 2**20 + b'"}', JSON, 413),
        (b'{"tenant": "ads", "running": "5"}', JSON, 422),
    ],
)
async def test_an_error_of_the_body_is_reported_after_authentication(
    app: AppHarness, body: bytes, headers: dict[str, str], status: int
) -> None:
    app.enable_admin_api(TOKEN)
    async with app.client() as stranger, app.client(TOKEN) as operator:
        refused = await stranger.post(TENANTS, content=body, headers=headers)
        wrong = await operator.post(TENANTS, content=body, headers=headers)
    assert (refused.status_code, wrong.status_code) == (401, status)
    assert wrong.headers["content-type"] == "application/problem+json"


async def test_every_wrong_field_is_named_with_the_nearest_right_name(app: AppHarness) -> None:
    app.enable_admin_api(TOKEN)
    async with app.client(TOKEN) as operator:
        wrong = await operator.put(
            TENANTS, json={"tenants": {"ads": {"usd_per_dya": 1, "running": -1}}}
        )
    errors = {error["path"]: error["message"] for error in wrong.json()["errors"]}
    assert errors == {
        "/tenants/ads/usd_per_dya": "is not known here; did you mean usd_per_day?",
        "/tenants/ads/running": "must be a whole number from 0 to 1000000000",
    }


async def test_a_body_without_a_content_type_is_json(app: AppHarness) -> None:
    app.enable_admin_api(TOKEN)
    async with app.client(TOKEN) as operator:
        made = await operator.post(TENANTS, content=b'{"tenant": "ads", "running": 5.0}')
    assert (made.status_code, made.json()["running"]) == (201, 5)


@pytest.mark.parametrize("path", ["/v1/models", "/v1/requests", "/v1/deliveries", "/v1/batches"])
async def test_an_option_that_is_given_twice_is_refused(
    caller: httpx.AsyncClient, path: str
) -> None:
    answer = await caller.get(f"{path}?limit=1&limit=2")
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_request")


async def test_null_is_no_value_of_a_field_that_may_only_be_left_out(
    caller: httpx.AsyncClient,
) -> None:
    answer = await caller.post("/v1/webhooks/test", json={"endpoint_id": None})
    assert answer.json()["errors"] == [{"path": "/endpoint_id", "message": "must not be null"}]


WITH_BODY = sorted(
    {(one.method, one.path) for one in api_operations() if one.method in {"POST", "PUT", "PATCH"}}
    - {("POST", "/v1/models/{model_id:path}"), ("POST", "/v1/batches")}
)
"""The two others check the key's format themselves, before they read the body."""


@pytest.mark.parametrize(("method", "path"), WITH_BODY)
@pytest.mark.parametrize("key", [None, "gw_nobody", TOKEN])
async def test_no_body_is_read_of_a_caller_without_a_key(
    app: AppHarness, method: str, path: str, key: str | None
) -> None:
    app.enable_admin_api(TOKEN)
    if path.startswith("/admin/") and key == TOKEN:
        key = await app.tenant()
    reads = []

    async def body() -> AsyncIterator[bytes]:
        reads.append(1)
        yield b"{}"

    async with app.client(key) as stranger:
        refused = await stranger.request(method, path, content=body(), headers=JSON)
    assert (refused.status_code, reads) == (401, [])


async def test_errors_of_unknown_fields_are_bounded(caller: httpx.AsyncClient) -> None:
    # Each error once built a JSON schema to find the nearest name: 22 KB cost 3.5 s.
    wrong = await caller.patch(
        "/v1/webhooks/endpoints/default", json={f"f{n}": 0 for n in range(300)}
    )
    assert wrong.status_code == 422
    assert len(wrong.json()["errors"]) == 64


async def test_deep_nesting_is_401_without_a_key_and_400_with_one(
    app: AppHarness, key: str
) -> None:
    deep = b'{"a":' * 1000 + b"1" + b"}" * 1000
    limits = BodyLimits(len(deep), timedelta(seconds=5))
    app.replace_resources(policy=replace(app.resources.policy, body_limits=limits))
    async with app.client() as stranger, app.client(key) as caller:
        refused = await stranger.post("/v1/webhooks/test", content=deep, headers=JSON)
        wrong = await caller.post("/v1/webhooks/test", content=deep, headers=JSON)
    assert refused.status_code == 401
    assert (wrong.status_code, wrong.json()["detail"]) == (400, "The body is nested too deeply.")


async def test_a_record_outside_of_the_bounds_of_today_is_still_listed(app: AppHarness) -> None:
    app.enable_admin_api(TOKEN)
    now = app.clock.now()
    old = Tenant("old", now, result_ttl=timedelta(seconds=1))
    assert await app.stores.tenants.create(old, ApiKey("d", "old", now), WebhookConfig("old"))
    async with app.client(TOKEN) as operator:
        listed = await operator.get(TENANTS)
    assert [one["result_ttl"] for one in json.loads(listed.content)["tenants"]] == [1]
