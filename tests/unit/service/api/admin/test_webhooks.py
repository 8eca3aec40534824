"""Webhooks in the admin API, and the list of disabled endpoints."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest

from core.transactions.webhook_config_update import WebhookConfigUpdate
from core.webhooks.delivery import Delivery, DeliveryState, WebhookEventType
from core.webhooks.endpoint import DisabledReason, queue_of_endpoint
from service.webhooks.webhook_service import MAX_SCANNED
from tests.support.app import KLING_INPUT, KLING_PATH, AppHarness

TOKEN = "operators-token-of-32-characters"
TENANT = "video-team"
ROOT = f"/admin/v1/tenants/{TENANT}"
URL = "https://hooks.example.com/runcomfy?token=not-for-the-log"
SECOND = timedelta(seconds=1)
D = DeliveryState


@pytest.fixture
async def operator(app: AppHarness, key: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client with the operators' token; the tenant `video-team` exists."""
    assert key
    app.enable_admin_api(TOKEN)
    async with app.client(TOKEN) as http:
        yield http


async def audit_entries(app: AppHarness) -> list[tuple[str, str, str]]:
    """The audit log, oldest first."""
    entries = await app.stores.audit.list_entries(100)
    return [(entry.action, entry.subject, entry.change) for entry in reversed(entries)]


async def create_delivery(
    app: AppHarness,
    number: int,
    state: DeliveryState,
    **changes: Any,  # noqa: ANN401 - fields of the record
) -> Delivery:
    """Store a delivery of the tenant, created now."""
    plain = Delivery(
        id=f"msg_{number:04}",
        job_id=None,
        tenant=TENANT,
        event=WebhookEventType.COMPLETED,
        url=URL,
        created_at=app.clock.now(),
        next_attempt_at=None,
        state=state,
        endpoint_id="default",
        queue=queue_of_endpoint(TENANT, "default"),
    )
    delivery = replace(plain, **changes)
    assert await app.stores.deliveries.enqueue(None, delivery)
    return delivery


async def test_endpoints_are_the_same_for_operators_and_their_tenant(
    operator: httpx.AsyncClient, caller: httpx.AsyncClient
) -> None:
    added = await operator.post(f"{ROOT}/endpoints", json={"url": URL, "headers": {"X-K": "v1"}})
    assert added.status_code == 201
    own = (await caller.get("/v1/webhooks/endpoints")).json()
    assert (await operator.get(f"{ROOT}/endpoints")).json() == own == {"endpoints": [added.json()]}
    assert (await operator.get(f"{ROOT}/endpoints/default")).json() == added.json()
    changed = await operator.patch(f"{ROOT}/endpoints/default", json={"payload": "thin"})
    assert (await caller.get("/v1/webhooks/endpoints/default")).json() == changed.json()
    assert (await operator.delete(f"{ROOT}/endpoints/default")).status_code == 204
    assert (await caller.get("/v1/webhooks/endpoints")).json() == {"endpoints": []}


REPLAYED = "2026-02-28T12:00:00+00:00 to 2026-03-01T12:00:00+00:00; failed,held; all"


async def test_each_act_is_noted_without_secrets_and_reading_is_not(
    app: AppHarness, operator: httpx.AsyncClient
) -> None:
    delivery = await create_delivery(app, 1, D.FAILED)
    await operator.post(f"{ROOT}/endpoints", json={"url": URL})
    await operator.patch(f"{ROOT}/endpoints/default", json={"headers": {"x": "hidden"}})
    await operator.post(f"{ROOT}/deliveries/{delivery.id}/resend")
    await operator.post(f"{ROOT}/replay", json={"since": "2026-02-28T12:00:00Z"})
    await operator.post(f"{ROOT}/test", json={"endpoint_id": "default"})
    await operator.post(f"{ROOT}/test")
    await operator.delete(f"{ROOT}/endpoints/default")
    for path in ("endpoints", "deliveries", "usage"):
        assert (await operator.get(f"{ROOT}/{path}")).status_code == 200
    assert await audit_entries(app) == [
        ("webhook.add", TENANT, "default"),
        ("webhook.change", TENANT, "default: headers"),
        ("webhook.resend", TENANT, delivery.id),
        ("webhook.replay", TENANT, REPLAYED),
        ("webhook.test", TENANT, "default"),
        ("webhook.test", TENANT, "all"),
        ("webhook.remove", TENANT, "default"),
    ]


async def test_deliveries_are_found_resent_and_replayed(
    app: AppHarness, operator: httpx.AsyncClient, caller: httpx.AsyncClient
) -> None:
    for number, state in enumerate((D.FAILED, D.DELIVERED)):
        await create_delivery(app, number, state)
        app.clock.move(SECOND)
    page = (await operator.get(f"{ROOT}/deliveries", params={"limit": 1})).json()
    assert [each["id"] for each in page["deliveries"]] == ["msg_0001"]
    own = (await caller.get("/v1/deliveries", params={"limit": 1})).json()
    assert page == own
    failed = await operator.get(f"{ROOT}/deliveries", params={"status": "failed"})
    assert [each["id"] for each in failed.json()["deliveries"]] == ["msg_0000"]

    told = await operator.post(f"{ROOT}/deliveries/msg_0000/resend")
    assert (told.status_code, told.json()["status"]) == (202, "pending")
    told = await operator.post(f"{ROOT}/replay", json={"since": "2026-02-28T12:00:00Z"})
    assert (told.status_code, told.json()["statuses"]) == (202, ["failed", "held"])
    assert len((await app.stores.replays.load(TENANT)).ranges) == 1


REFUSED: tuple[tuple[str, str, Any, int], ...] = (
    ("POST", "endpoints", {"url": "https://10.0.0.1/"}, 422),
    ("POST", "endpoints", {}, 422),
    ("PATCH", "endpoints/ep_1", {"timeout": 1}, 404),
    ("DELETE", "endpoints/ep_1", None, 404),
    ("GET", "deliveries?status=lost", None, 400),
    ("POST", "deliveries/msg_9999/resend", None, 404),
    ("POST", "replay", {}, 422),
    ("POST", "test", None, 409),
    ("POST", "test", {"endpoint_id": "x"}, 404),
)


@pytest.mark.parametrize(("method", "path", "body", "status"), REFUSED)
async def test_what_is_refused_is_not_noted(
    app: AppHarness,
    operator: httpx.AsyncClient,
    method: str,
    path: str,
    body: Any,  # noqa: ANN401 - JSON
    status: int,
) -> None:
    refused = await operator.request(method, f"{ROOT}/{path}", json=body)
    assert refused.status_code == status
    assert await audit_entries(app) == []


@pytest.mark.parametrize("tenant", ["nobody", "video-team:webhooks", "Video", "-"])
@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "endpoints"), ("GET", "deliveries"), ("POST", "replay"), ("POST", "test")],
)
async def test_of_an_unknown_tenant_there_is_nothing(
    operator: httpx.AsyncClient, tenant: str, method: str, path: str
) -> None:
    body = {"since": "2026-02-28T12:00:00Z"} if path == "replay" else None
    answer = await operator.request(method, f"/admin/v1/tenants/{tenant}/{path}", json=body)
    assert answer.status_code == 404


async def test_of_a_deleted_tenant_there_is_nothing_either(operator: httpx.AsyncClient) -> None:
    assert (await operator.delete(ROOT)).status_code == 204
    for path in ("endpoints", "deliveries"):
        assert (await operator.get(f"{ROOT}/{path}")).status_code == 404


async def test_another_tenant_s_callback_is_not_resent(
    app: AppHarness, operator: httpx.AsyncClient
) -> None:
    await app.tenant("other")
    delivery = await create_delivery(app, 1, D.FAILED)
    answer = await operator.post(f"/admin/v1/tenants/other/deliveries/{delivery.id}/resend")
    assert answer.status_code == 404


# --- usage


async def test_use_shows_which_endpoint_gets_nothing_since_when_why_and_what_it_is_owed(
    app: AppHarness, operator: httpx.AsyncClient, caller: httpx.AsyncClient
) -> None:
    await caller.post("/v1/webhooks/endpoints", json={"url": URL})
    other = await caller.post("/v1/webhooks/endpoints", json={"url": "stream:jobs"})
    assert (await caller.get("/v1/usage")).json()["disabled_endpoints"] == []
    setup = await app.resources.webhooks.load_config(TENANT)
    lost = setup.with_disabled_endpoint("default", DisabledReason.FAILING, app.clock.now())
    assert await app.stores.webhook_configs.update(WebhookConfigUpdate(setup, lost))
    job = (await caller.post(KLING_PATH, json=KLING_INPUT)).json()["request_id"]
    await caller.post(f"/v1/requests/{job}/cancel")  # held for the one, sent to the other
    await create_delivery(app, 1, D.FAILED)
    await create_delivery(app, 2, D.PENDING, next_attempt_at=app.clock.now())
    await create_delivery(app, 3, D.DELIVERED)
    await create_delivery(app, 4, D.FAILED, endpoint_id=other.json()["id"])
    shown = (await caller.get("/v1/usage")).json()["disabled_endpoints"]
    assert shown == [
        {
            "endpoint_id": "default",
            "url": URL,
            "reason": "failing",
            "disabled_at": "2026-03-01T12:00:00Z",
            "owed": 3,
        }
    ]
    assert (await operator.get(f"{ROOT}/usage")).json()["disabled_endpoints"] == shown
    await caller.patch("/v1/webhooks/endpoints/default", json={"enabled": True})
    assert (await caller.get("/v1/usage")).json()["disabled_endpoints"] == []


async def test_what_is_owed_is_counted_within_bounds(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    await caller.post("/v1/webhooks/endpoints", json={"url": URL})
    await caller.patch("/v1/webhooks/endpoints/default", json={"enabled": False})
    await create_delivery(app, 0, D.HELD)
    app.clock.move(timedelta(days=8))  # what is older than a result is not sent any more
    for number in range(1, MAX_SCANNED + 6):
        await create_delivery(app, number, D.HELD)
    (shown,) = (await caller.get("/v1/usage")).json()["disabled_endpoints"]
    assert shown["owed"] == MAX_SCANNED
