"""The rules that `GatewayRoute` adds to FastAPI, for any of its operations."""

import httpx
import pytest

from tests.support.app import AppHarness

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
        (b'{"tenant": "ads", "webhook": "' + b"x" * 5000 + b'"}', JSON, 413),
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
