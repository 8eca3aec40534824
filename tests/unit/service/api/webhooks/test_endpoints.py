"""Webhooks in the tenants' API: endpoints, secrets, deliveries, replays."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest

from core.clock import iso
from core.store.codecs import DELIVERY_ATTEMPT_CODEC
from core.tenants.api_keys import Scope, api_key_digest
from core.tenants.limits import Limits
from core.webhooks.circuit_breaker import EndpointCircuitPolicy
from core.webhooks.delivery import (
    CircuitUpdate,
    Delivery,
    DeliveryAttempt,
    DeliveryState,
    WebhookEventType,
)
from core.webhooks.endpoint import MAX_ENDPOINTS, queue_of_endpoint
from core.webhooks.signing_keys import public_key
from tests.support.app import KLING_INPUT, KLING_PATH, AppHarness
from tests.support.clock import START

ENDPOINTS = "/v1/webhooks/endpoints"
URL = "https://hooks.example.com/runcomfy"
TENANT = "video-team"
NOW = START
SECOND = timedelta(seconds=1)
D = DeliveryState


async def create_delivery(app: AppHarness, number: int, **changes: Any) -> Delivery:  # noqa: ANN401 - fields of the record
    """Store a delivery of the tenant, created now."""
    now = app.clock.now()
    plain = Delivery(
        id=f"msg_{number:03}",
        job_id=None,
        tenant=TENANT,
        event=WebhookEventType.COMPLETED,
        url=URL,
        created_at=now,
        next_attempt_at=None,
        state=D.DELIVERED,
        endpoint_id="default",
        queue=queue_of_endpoint(TENANT, "default"),
    )
    made = replace(plain, **changes)
    assert await app.stores.deliveries.enqueue(None, made)
    return made


# --- endpoints


async def test_an_endpoint_that_fails_shows_since_when_and_until_when_it_is_held_back(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    await caller.post(ENDPOINTS, json={"url": URL})
    queue, policy = queue_of_endpoint(TENANT, "default"), EndpointCircuitPolicy()
    before = circuit = await app.stores.deliveries.load_circuit(queue)
    for _ in range(policy.failure_threshold):
        circuit = circuit.record_failure(app.clock.now(), policy)
    failed = replace(circuit, last_failure="connect_error")
    assert await app.stores.deliveries.update_circuit(CircuitUpdate(queue, before, failed))
    until = app.clock.now() + policy.initial_pause
    states = {"failing_since": iso(NOW), "last_failure": "unreachable"}
    held = states | {"held_back_until": iso(until)}
    for path, wanted in ((ENDPOINTS, held), (f"{ENDPOINTS}/default", held)):
        document = (await caller.get(path)).json()
        one = document["endpoints"][0] if path == ENDPOINTS else document
        assert {name: one.get(name) for name in held} == wanted
    await app.clock.advance(policy.initial_pause)
    one = (await caller.get(f"{ENDPOINTS}/default")).json()
    assert {name: one[name] for name in held if name in one} == states


async def test_the_first_endpoint_is_the_default_and_the_next_has_a_name(
    caller: httpx.AsyncClient,
) -> None:
    first = await caller.post(ENDPOINTS, json={"url": URL})
    assert (first.status_code, first.headers["location"]) == (201, f"{ENDPOINTS}/default")
    assert first.json() == {
        "id": "default",
        "kind": "http",
        "url": URL,
        "payload": "full",
        "headers": [],
        "timeout": 20.0,
        "created_at": "2026-03-01T12:00:00Z",
        "enabled": True,
    }
    second = await caller.post(ENDPOINTS, json={"url": "stream:jobs@analytics"})
    assert second.json()["id"].startswith("ep_")
    assert second.json()["kind"] == "redis_stream"
    listed = (await caller.get(ENDPOINTS)).json()["endpoints"]
    assert listed == [first.json(), second.json()]
    one = await caller.get(f"{ENDPOINTS}/default")
    assert one.json() == first.json()


async def test_a_tenant_created_with_a_webhook_has_it_as_its_default(app: AppHarness) -> None:
    async with app.client(await app.tenant("ada", webhook=URL)) as caller:
        (endpoint,) = (await caller.get(ENDPOINTS)).json()["endpoints"]
    assert (endpoint["id"], endpoint["url"]) == ("default", URL)


async def test_an_endpoint_is_changed_field_by_field(caller: httpx.AsyncClient) -> None:
    await caller.post(ENDPOINTS, json={"url": URL, "headers": {"X-Key": "secret-value"}})
    changed = await caller.patch(
        f"{ENDPOINTS}/default",
        json={"events": ["request.failed"], "payload": "thin", "timeout": 2.5},
    )
    told = changed.json()
    assert (told["events"], told["payload"], told["timeout"]) == (["request.failed"], "thin", 2.5)
    assert (told["url"], told["headers"]) == (URL, ["X-Key"])
    assert "secret-value" not in changed.text
    back = await caller.patch(f"{ENDPOINTS}/default", json={"events": None})
    assert "events" not in back.json()


async def test_deleted_is_gone(caller: httpx.AsyncClient) -> None:
    await caller.post(ENDPOINTS, json={"url": URL})
    assert (await caller.delete(f"{ENDPOINTS}/default")).status_code == 204
    for method in ("GET", "PATCH", "DELETE"):
        again = await caller.request(method, f"{ENDPOINTS}/default", json={})
        assert again.status_code == 404, method


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no url": ({}, "/url"),
    "a private address": ({"url": "https://10.0.0.1/"}, "/url"),
    "plain http": ({"url": "http://hooks.example.com/"}, "/url"),
    "a number": ({"url": 7}, "/url"),
    "a stream without a name": ({"url": "stream:"}, "/url"),
    "a sink that nobody offers": ({"url": "stream:jobs@other"}, "/url"),
    "a redis of its own": ({"url": "redis://10.0.0.1/0"}, "/url"),
    "an unknown event": ({"url": URL, "events": ["request.lost"]}, "/events/0"),
    "no event": ({"url": URL, "events": []}, "/events"),
    "a nested event": ({"url": URL, "events": [{}]}, "/events/0"),
    "the test event": ({"url": URL, "events": ["webhook.test"]}, "/events/0"),
    "an unknown payload": ({"url": URL, "payload": "fat"}, "/payload"),
    "a forged signature": ({"url": URL, "headers": {"webhook-signature": "x"}}, "/headers"),
    "another host": ({"url": URL, "headers": {"host": "evil"}}, "/headers"),
    "a header that is no text": ({"url": URL, "headers": {"x": 1}}, "/headers/x"),
    "an endless time-out": ({"url": URL, "timeout": 21}, "/timeout"),
    "no time-out": ({"url": URL, "timeout": True}, "/timeout"),
    "a field that there is not": ({"url": URL, "secret": "x"}, "/secret"),
    "half enabled": ({"url": URL, "enabled": "yes"}, "/enabled"),
}


@pytest.mark.parametrize(("body", "path"), WRONG.values(), ids=WRONG.keys())
async def test_what_is_wrong_with_an_endpoint_is_said_field_by_field(
    caller: httpx.AsyncClient, body: dict[str, Any], path: str
) -> None:
    refused = await caller.post(ENDPOINTS, json=body)
    assert refused.status_code == 422
    assert [error["path"] for error in refused.json()["errors"]] == [path]
    assert (await caller.get(ENDPOINTS)).json() == {"endpoints": []}


async def test_endpoints_are_bounded_and_two_of_one_url_refused(caller: httpx.AsyncClient) -> None:
    for number in range(MAX_ENDPOINTS):
        made = await caller.post(ENDPOINTS, json={"url": f"{URL}/{number}"})
        assert made.status_code == 201
    assert (await caller.post(ENDPOINTS, json={"url": f"{URL}/more"})).status_code == 409
    twin = await caller.patch(f"{ENDPOINTS}/default", json={"url": f"{URL}/3"})
    assert twin.status_code == 409


async def test_disabled_by_its_owner_it_is_held_for_and_enabled_it_gets_what_it_missed(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    await caller.post(ENDPOINTS, json={"url": URL})
    off = await caller.patch(f"{ENDPOINTS}/default", json={"enabled": False})
    assert (off.json()["enabled"], off.json()["disabled_reason"]) == (False, "by_owner")
    job = (await caller.post(KLING_PATH, json=KLING_INPUT)).json()["request_id"]
    await caller.post(f"/v1/requests/{job}/cancel")
    (held,) = (await caller.get(f"/v1/requests/{job}/deliveries")).json()["deliveries"]
    assert (held["status"], held["event"]) == ("held", "request.cancelled")
    on = await caller.patch(f"{ENDPOINTS}/default", json={"enabled": True})
    assert (on.json()["enabled"], "disabled_reason" in on.json()) == (True, False)
    (stretch,) = (await app.stores.replays.load(TENANT)).ranges
    assert (stretch.endpoint_id, stretch.until) == ("default", NOW)


# --- secrets


async def test_a_new_secret_is_shown_once_and_the_old_one_counts_for_a_while(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    shown = []
    for overlap in (3600, 60):
        told = await caller.post("/v1/webhooks/secret/rotate", json={"overlap": overlap})
        assert told.json()["secret"].startswith("whsec_")
        shown.append(told.json()["secret"])
    setup = await app.resources.webhooks.load_config(TENANT)
    assert setup.live_secrets(NOW) == tuple(reversed(shown))
    assert setup.live_secrets(NOW + 60 * SECOND) == (shown[1],)
    assert shown[1] not in (await caller.get(ENDPOINTS)).text


async def test_public_keys_are_published_for_those_who_asked_for_them(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    where = f"/.well-known/webhook-keys/{TENANT}"
    async with app.client() as stranger:
        assert (await stranger.get(where)).status_code == 404
        assert (await stranger.get("/.well-known/webhook-keys/nobody")).status_code == 404
        told = await caller.post("/v1/webhooks/secret/rotate", json={"kind": "ed25519"})
        assert "secret" not in told.json()
        again = await caller.post("/v1/webhooks/secret/rotate", json={"kind": "ed25519"})
        published = (await stranger.get(where)).json()["keys"]
    assert [key["key"] for key in published] == [
        again.json()["public_key"],
        told.json()["public_key"],
    ]
    assert ["ends_at" in key for key in published] == [False, True]
    setup = await app.resources.webhooks.load_config(TENANT)
    assert [public_key(text) for text in setup.live_signing_keys(NOW)] == [
        key["key"] for key in published
    ]


@pytest.mark.parametrize("body", [{"kind": "rsa"}, {"overlap": -1}, {"overlap": 8 * 86_400}])
async def test_a_wrong_rotation_changes_nothing(
    app: AppHarness, caller: httpx.AsyncClient, body: dict[str, Any]
) -> None:
    refused = await caller.post("/v1/webhooks/secret/rotate", json=body)
    assert refused.status_code == 422
    assert (await app.resources.webhooks.load_config(TENANT)).version == 0


# --- deliveries


async def test_deliveries_are_listed_newest_first_in_pages(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    for number in range(5):
        await create_delivery(app, number)
        app.clock.move(SECOND)
    page = (await caller.get("/v1/deliveries", params={"limit": 2})).json()
    assert [each["id"] for each in page["deliveries"]] == ["msg_004", "msg_003"]
    following = {"limit": 2, "cursor": page["next_cursor"]}
    page = (await caller.get("/v1/deliveries", params=following)).json()
    assert [each["id"] for each in page["deliveries"]] == ["msg_002", "msg_001"]
    last = {"limit": 2, "cursor": page["next_cursor"]}
    page = (await caller.get("/v1/deliveries", params=last)).json()
    assert [each["id"] for each in page["deliveries"]] == ["msg_000"]
    assert "next_cursor" not in page


async def test_deliveries_are_found_by_status_and_time(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    for number, state in enumerate(D):
        await create_delivery(app, number, state=state)
        app.clock.move(SECOND)
    for number, state in enumerate(D):
        found = (await caller.get("/v1/deliveries", params={"status": state})).json()
        assert [each["id"] for each in found["deliveries"]] == [f"msg_{number:03}"]
    span = {"since": "2026-03-01T12:00:01Z", "until": "2026-03-01T12:00:02Z"}
    found = (await caller.get("/v1/deliveries", params=span)).json()
    assert [each["id"] for each in found["deliveries"]] == ["msg_002", "msg_001"]


async def test_a_filter_looks_through_a_bounded_number_and_says_where_to_go_on(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    await create_delivery(app, 0, state=D.FAILED)
    for number in range(1, 1201):
        await create_delivery(app, number)
    first = (await caller.get("/v1/deliveries", params={"status": "failed"})).json()
    assert first["deliveries"] == []
    following = {"status": "failed", "cursor": first["next_cursor"]}
    second = (await caller.get("/v1/deliveries", params=following)).json()
    assert [each["id"] for each in second["deliveries"]] == ["msg_000"]


@pytest.mark.parametrize(
    "query", ["status=lost", "since=yesterday", "limit=0", "limit=101", "limit=x", "colour=red"]
)
async def test_a_wrong_query_is_refused(caller: httpx.AsyncClient, query: str) -> None:
    assert (await caller.get(f"/v1/deliveries?{query}")).status_code == 400


async def test_a_delivery_tells_of_its_attempts(app: AppHarness, caller: httpx.AsyncClient) -> None:
    await create_delivery(
        app, 1, state=D.PENDING, next_attempt_at=NOW + SECOND, last_outcome="server_error"
    )
    attempt = DeliveryAttempt(NOW, 1, "server_error", 84, 500, "oops")
    app.stores.memory.attempts["msg_001"] = [_written(attempt)]
    (told,) = (await caller.get("/v1/deliveries")).json()["deliveries"]
    assert told == {
        "id": "msg_001",
        "event": "request.completed",
        "status": "pending",
        "endpoint_id": "default",
        "url": URL,
        "created_at": "2026-03-01T12:00:00Z",
        "next_attempt_at": "2026-03-01T12:00:01Z",
        "last_outcome": "server_error",
        "attempts": [
            {
                "at": "2026-03-01T12:00:00Z",
                "number": 1,
                "outcome": "server_error",
                "took_ms": 84,
                "http_status": 500,
                "answer": "oops",
            }
        ],
    }


def _written(attempt: DeliveryAttempt) -> bytes:

    return DELIVERY_ATTEMPT_CODEC.encode(attempt)


async def test_one_is_sent_anew_now_under_its_old_id(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    before = await create_delivery(app, 1, state=D.FAILED, attempts=12, version=13)
    told = await caller.post("/v1/deliveries/msg_001/resend")
    assert (told.status_code, told.json()["status"]) == (202, "pending")
    (claimed,) = await app.stores.deliveries.claim_due(30 * SECOND, 5)
    after = claimed.delivery
    assert (after.id, after.version, after.attempts, after.uncounted_attempts) == (
        before.id,
        14,
        12,
        12,
    )


async def test_of_another_tenant_nothing_is_seen_or_sent(app: AppHarness) -> None:
    await create_delivery(app, 1)
    async with app.client(await app.tenant("other")) as other:
        assert (await other.get("/v1/deliveries")).json() == {"deliveries": []}
        assert (await other.post("/v1/deliveries/msg_001/resend")).status_code == 404
        assert (await other.get("/v1/requests/req_1/deliveries")).status_code == 404
    assert (await app.stores.deliveries.claim_due(30 * SECOND, 5)) == []


async def test_a_stretch_is_replayed(app: AppHarness, caller: httpx.AsyncClient) -> None:
    body = {"since": "2026-02-28T12:00:00Z", "status": "delivered"}
    told = await caller.post("/v1/webhooks/replay", json=body)
    assert told.status_code == 202
    assert (told.json()["statuses"], told.json()["waiting"]) == (["delivered"], 1)
    (stretch,) = (await app.stores.replays.load(TENANT)).ranges
    assert (stretch.since, stretch.until) == (NOW - timedelta(days=1), NOW)
    assert stretch.states == {D.DELIVERED}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"since": "yesterday"},
        {"since": 7},
        {"since": "2026-03-01T12:00:00Z", "until": "2026-02-01T12:00:00Z"},
        {"since": "2026-03-01T12:00:00Z", "status": "lost"},
        {"since": "2026-03-01T12:00:00Z", "colour": "red"},
    ],
)
async def test_a_wrong_replay_is_refused(
    app: AppHarness, caller: httpx.AsyncClient, body: dict[str, Any]
) -> None:
    assert (await caller.post("/v1/webhooks/replay", json=body)).status_code == 422
    assert (await app.stores.replays.load(TENANT)).version == 0


async def test_replays_are_bounded(caller: httpx.AsyncClient) -> None:
    body = {"since": "2026-03-01T12:00:00Z"}
    codes = [(await caller.post("/v1/webhooks/replay", json=body)).status_code for _ in range(21)]
    assert codes == [202] * 20 + [409]


async def test_a_test_event_goes_to_one_or_to_all(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    assert (await caller.post("/v1/webhooks/test")).status_code == 409
    await caller.post(ENDPOINTS, json={"url": URL, "events": ["request.failed"]})
    other = (await caller.post(ENDPOINTS, json={"url": f"{URL}/2"})).json()["id"]
    told = await caller.post("/v1/webhooks/test", json={"endpoint_id": other})
    assert [each["endpoint_id"] for each in told.json()["deliveries"]] == [other]
    told = await caller.post("/v1/webhooks/test")
    assert (told.status_code, len(told.json()["deliveries"])) == (202, 2)
    claimed = await app.stores.deliveries.claim_due(30 * SECOND, 5)
    assert {each.delivery.event for each in claimed} == {WebhookEventType.TEST}
    assert (await caller.post("/v1/webhooks/test", json={"endpoint_id": "x"})).status_code == 404


# --- who may

CHANGING = (
    ("POST", ENDPOINTS),
    ("PATCH", f"{ENDPOINTS}/default"),
    ("DELETE", f"{ENDPOINTS}/default"),
    ("POST", "/v1/webhooks/secret/rotate"),
    ("POST", "/v1/webhooks/replay"),
    ("POST", "/v1/webhooks/test"),
    ("POST", "/v1/deliveries/msg_001/resend"),
)
READING = (
    ("GET", ENDPOINTS),
    ("GET", f"{ENDPOINTS}/default"),
    ("GET", "/v1/deliveries"),
    ("GET", "/v1/requests/req_1/deliveries"),
)


@pytest.mark.parametrize(("method", "path"), CHANGING + READING)
async def test_a_key_is_needed(app: AppHarness, method: str, path: str) -> None:
    async with app.client() as stranger:
        assert (await stranger.request(method, path)).status_code == 401


@pytest.mark.parametrize(("method", "path"), CHANGING)
@pytest.mark.parametrize("scope", sorted(frozenset(Scope) - {Scope.WEBHOOKS}))
async def test_a_key_without_the_scope_for_webhooks_changes_nothing(
    app: AppHarness, method: str, path: str, scope: Scope
) -> None:
    key = await app.tenant("other", scopes=frozenset({scope}))
    async with app.client(key) as caller:
        assert (await caller.request(method, path)).status_code == 403


async def test_what_a_tenant_does_to_its_webhooks_is_in_the_audit_log(app: AppHarness) -> None:
    key = await app.tenant("acts")
    actor = f"acts/{api_key_digest(key)[:16]}"
    async with app.client(key) as caller:
        await caller.post(ENDPOINTS, json={"url": URL})
        await caller.patch(f"{ENDPOINTS}/default", json={"headers": {"x-token": "secret"}})
        await caller.post("/v1/webhooks/secret/rotate")
        await caller.post("/v1/webhooks/test")
        await caller.post("/v1/webhooks/replay", json={"since": NOW.isoformat()})
        await caller.delete(f"{ENDPOINTS}/default")
    entries = list(reversed(await app.stores.audit.list_entries(10, "acts")))
    assert [entry.action for entry in entries] == [
        "webhook.add",
        "webhook.change",
        "webhook.rotate",
        "webhook.test",
        "webhook.replay",
        "webhook.remove",
    ]
    assert {(entry.actor, entry.subject) for entry in entries} == {(actor, "acts")}
    assert "secret" not in str(entries[1])


async def test_test_events_are_refused_beyond_their_rate(app: AppHarness) -> None:
    key = await app.tenant("eager", limits=Limits(webhook_actions_per_minute=2))
    async with app.client(key) as caller:
        await caller.post(ENDPOINTS, json={"url": URL})
        sent = [await caller.post("/v1/webhooks/test") for _ in range(3)]
    assert [answer.status_code for answer in sent] == [202, 202, 429]
    assert sent[2].json()["violated-policies"] == ["webhook-actions-per-minute"]
    assert int(sent[2].headers["retry-after"]) > 0
