"""Parts of URLs become parts of Redis keys: they must not select another key."""

from functools import partial

import pytest

from core.observability.events import Event
from core.store import keys
from core.store.client import RedisClient, build_connection_pool
from service.app import create_app
from service.composition import open_app_context
from tests.support.app import KLING_INPUT, KLING_PATH
from tests.support.service import key_of, open_caller, settings_for

TOKEN = "operators-token-of-32-characters"
ENDPOINTS = "/v1/webhooks/endpoints"

OWN = (
    ("GET", "/v1/requests/{job}:timeline"),
    ("GET", "/v1/requests/{job}:deliveries/status"),
    ("GET", "/v1/requests/{job}:timeline/result"),
    ("GET", "/v1/requests/{job}:timeline/deliveries"),
    ("GET", "/v1/requests/{job}:timeline/events"),
    ("POST", "/v1/requests/{job}:timeline/cancel"),
    ("POST", "/v1/deliveries/{delivery}:attempts/resend"),
    ("GET", "/.well-known/webhook-keys/video-team:webhooks"),
    ("GET", "/.well-known/webhook-keys/video-team:deliveries"),
    ("GET", "/.well-known/webhook-keys/video-team:keys"),
)
OPERATORS = (
    ("GET", "/admin/v1/requests/{job}:timeline"),
    ("POST", "/admin/v1/doubts/{job}:timeline"),
    ("GET", "/admin/v1/tenants/video-team:webhooks"),
    ("GET", "/admin/v1/tenants/video-team:webhooks/endpoints"),
    ("GET", "/admin/v1/tenants/video-team:deliveries/deliveries"),
    ("POST", "/admin/v1/tenants/video-team:keys/test"),
    ("POST", "/admin/v1/tenants/video-team/deliveries/{delivery}:attempts/resend"),
)


async def test_no_url_selects_another_key(
    redis_flushed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEWAY_ADMIN_TOKEN", TOKEN)
    settings = settings_for(redis_flushed, monkeypatch)
    events: list[Event] = []
    key = await key_of(settings)
    async with open_caller(
        create_app(partial(open_app_context, settings, events.append)), key
    ) as caller:
        await caller.post(ENDPOINTS, json={"url": "https://hooks.example.com/"})
        job = (await caller.post(KLING_PATH, json=KLING_INPUT)).json()["request_id"]
        await caller.post(f"/v1/requests/{job}/cancel")
        (delivery,) = (await caller.get("/v1/deliveries")).json()["deliveries"]
        async with RedisClient(build_connection_pool(settings.redis, "test")) as wire:
            await wire.execute("RPUSH", keys.attempts(delivery["id"]), b"{}")
        named = {"job": job, "delivery": delivery["id"]}
        found = []
        for paths, headers in ((OWN, {}), (OPERATORS, {"authorization": f"Bearer {TOKEN}"})):
            for method, path in paths:
                body = {"resolution": "lost"} if "doubts" in path else None
                answer = await caller.request(
                    method, path.format(**named), json=body, headers=headers
                )
                found.append((answer.status_code, path))
    assert [row for row in found if row[0] not in {400, 404}] == []
