"""The admin API of tenants over the in-memory stores: authentication and each call's effect."""

from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Any

import httpx
import pytest

from core.errors import StoreUnavailable
from core.models.changes import ModelChange, ModelChangeKind
from core.money import MicroUsd
from core.operators.audit import AuditEntry
from tests.support.app import KLING, KLING_INPUT, KLING_PATH, AppHarness, api_operations
from tests.support.memory_store.audit import MemoryAuditLogStore

TOKEN = "operators-token-of-32-characters"
ADMIN = [one for one in api_operations() if one.path.startswith("/admin/")]


@pytest.fixture
async def operator(app: AppHarness) -> AsyncIterator[httpx.AsyncClient]:
    """A client with the operators' token."""
    app.enable_admin_api(TOKEN)
    async with app.client(TOKEN) as http:
        yield http


def path_of(template: str) -> str:
    known = {"key_id": "0" * 16, "request_id": "req_1", "endpoint_id": "x", "delivery_id": "msg_1"}
    known |= {"operator": "nobody"}
    return template.format(tenant="ads", **known)


@pytest.mark.parametrize("endpoint", ADMIN, ids=lambda endpoint: endpoint.name)
async def test_without_the_setting_there_is_nothing_here(app: AppHarness, endpoint: Any) -> None:  # noqa: ANN401 - an Endpoint
    async with app.client(TOKEN) as http:
        answer = await http.request(endpoint.method, path_of(endpoint.path), json={})
    assert answer.status_code == 404
    assert answer.json()["detail"] == "There is nothing at this address."


@pytest.mark.parametrize("token", [None, "", "wrong", TOKEN[:-1], TOKEN + "x", "\u00e9" * 32])
@pytest.mark.parametrize("endpoint", ADMIN, ids=lambda endpoint: endpoint.name)
async def test_without_the_token_nobody_gets_in(
    app: AppHarness,
    endpoint: Any,  # noqa: ANN401 - an Endpoint
    token: str | None,
) -> None:
    app.enable_admin_api(TOKEN)
    header = {} if token is None else {b"authorization": f"Bearer {token}".encode()}
    async with app.client() as http:
        answer = await http.request(
            endpoint.method, path_of(endpoint.path), json={}, headers=header
        )
    assert answer.status_code == 401
    assert answer.headers["cache-control"] == "no-store"
    entries = await app.stores.audit.list_entries(10)
    assert [one.action for one in entries] == (["log-in.fail"] if token else [])


async def test_a_tenant_s_key_is_no_token(app: AppHarness) -> None:
    app.enable_admin_api(TOKEN)
    async with app.client(await app.tenant()) as http:
        assert (await http.get("/admin/v1/tenants")).status_code == 401


async def test_the_token_is_no_tenant_s_key(operator: httpx.AsyncClient) -> None:
    assert (await operator.get("/v1/usage")).status_code == 401


async def create(operator: httpx.AsyncClient, **settings: object) -> dict[str, Any]:
    answer = await operator.post("/admin/v1/tenants", json={"tenant": "ads", **settings})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def test_a_tenant_is_created_shown_changed_and_listed(operator: httpx.AsyncClient) -> None:
    made = await create(operator, usd_per_day=25, models=["kling/*"])
    shown = (await operator.get("/admin/v1/tenants/ads")).json()
    changed = await operator.patch(
        "/admin/v1/tenants/ads", json={"usd_per_day": None, "running": 3}
    )

    assert made["key"].startswith("rcg_ads_")
    assert made["webhook_secret"].startswith("whsec_")
    assert {*made} - {*shown} == {"key", "webhook_secret", "defaults_taken"}
    assert shown["usd_per_day"] == 25
    assert (changed.json()["usd_per_day"], changed.json()["running"]) == (None, 3)
    listed = (await operator.get("/admin/v1/tenants")).json()["tenants"]
    assert listed == [changed.json()]


async def test_a_new_key_works_at_once_and_a_disabled_tenant_s_does_not(
    app: AppHarness, operator: httpx.AsyncClient
) -> None:
    made = await create(operator)
    async with app.client(made["key"]) as caller:
        assert (await caller.get("/v1/usage")).status_code == 200
        await operator.patch("/admin/v1/tenants/ads", json={"disabled": True})
        assert (await caller.get("/v1/usage")).status_code == 401
        await operator.patch("/admin/v1/tenants/ads", json={"disabled": False})
        assert (await caller.get("/v1/usage")).status_code == 200


async def test_a_deleted_tenant_s_keys_stop_and_its_jobs_go_on(
    app: AppHarness, operator: httpx.AsyncClient
) -> None:
    made = await create(operator)
    async with app.client(made["key"]) as caller:
        job_id = (await caller.post(KLING_PATH, json=KLING_INPUT)).json()["request_id"]
        deleted = await operator.delete("/admin/v1/tenants/ads")
        assert (await caller.get("/v1/usage")).status_code == 401

    assert (deleted.status_code, deleted.content) == (204, b"")
    assert (await operator.get("/admin/v1/tenants/ads")).status_code == 404
    assert (await operator.get("/admin/v1/tenants")).json() == {"tenants": []}
    assert (await operator.get(f"/admin/v1/requests/{job_id}")).json()["state"] == "queued"
    taken = await operator.post("/admin/v1/tenants", json={"tenant": "ads"})
    assert (taken.status_code, taken.json()["code"]) == (409, "conflict")


async def test_keys_are_rotated(app: AppHarness, operator: httpx.AsyncClient) -> None:
    first = (await create(operator))["key"]
    wish = {"scopes": ["read"], "expires_at": "2026-03-02T13:00:00+01:00"}
    second = (await operator.post("/admin/v1/tenants/ads/keys", json=wish)).json()
    keys = (await operator.get("/admin/v1/tenants/ads/keys")).json()["keys"]
    assert {key["key_id"] for key in keys} > {second["key_id"]}
    assert second["expires_at"] == "2026-03-02T12:00:00Z"
    assert first not in str(keys)
    assert second["key"] not in str(keys)

    old = next(key["key_id"] for key in keys if key["key_id"] != second["key_id"])
    assert (await operator.delete(f"/admin/v1/tenants/ads/keys/{old}")).status_code == 204
    async with app.client(first) as caller:
        assert (await caller.get("/v1/usage")).status_code == 401
    async with app.client(second["key"]) as caller:
        assert (await caller.get("/v1/usage")).status_code == 200
        assert (await caller.post(KLING_PATH, json=KLING_INPUT)).status_code == 403
        app.clock.move(timedelta(days=1))
        assert (await caller.get("/v1/usage")).status_code == 401


async def test_a_key_has_a_name(operator: httpx.AsyncClient) -> None:
    await create(operator)
    url = "/admin/v1/tenants/ads/keys"
    made = (await operator.post(url, json={"name": "render farm"})).json()
    named = {one["key_id"]: one["name"] for one in (await operator.get(url)).json()["keys"]}
    assert sorted(named.values(), key=str) == [None, "render farm"]
    assert named[made["key_id"]] == "render farm"


async def test_a_leaked_key_is_revoked_by_itself(
    app: AppHarness, operator: httpx.AsyncClient
) -> None:
    key = (await create(operator))["key"]
    assert (await operator.delete(f"/admin/v1/tenants/ads/keys/{key}")).status_code == 204
    async with app.client(key) as caller:
        assert (await caller.get("/v1/usage")).status_code == 401


async def test_one_tenant_s_key_is_not_revoked_under_another_s_name(
    operator: httpx.AsyncClient, app: AppHarness
) -> None:
    await create(operator)
    key = await app.tenant("film")
    assert (await operator.delete(f"/admin/v1/tenants/ads/keys/{key}")).status_code == 404
    async with app.client(key) as caller:
        assert (await caller.get("/v1/usage")).status_code == 200


@pytest.mark.parametrize(
    "wish",
    [
        {"scopes": []},
        {"scopes": ["root"]},
        {"scopes": "read"},
        {"scopes": 7},
        {"expires_at": "tomorrow"},
        {"expires_at": "2026-03-02T12:00:00"},
        {"expires_at": "2020-01-01T00:00:00Z"},
        {"name": ""},
        {"name": 7},
        {"name": "x" * 257},
        {"nome": "x"},
    ],
)
async def test_an_odd_key_is_refused(operator: httpx.AsyncClient, wish: dict[str, object]) -> None:
    await create(operator)
    answer = await operator.post("/admin/v1/tenants/ads/keys", json=wish)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")


async def test_webhook_secrets_overlap_until_the_old_one_is_retired(
    app: AppHarness, operator: httpx.AsyncClient
) -> None:
    first = (await create(operator))["webhook_secret"]
    second = (await operator.post("/admin/v1/tenants/ads/webhook-secret")).json()["webhook_secret"]
    setup = await app.resources.webhooks.load_config("ads")
    day = app.clock.now() + timedelta(days=1)
    assert setup.live_secrets(day - timedelta(seconds=1)) == (second, first)
    assert setup.live_secrets(day) == (second,)
    left = await operator.delete("/admin/v1/tenants/ads/webhook-secret/previous")
    assert left.json()["webhook_secrets"] == 1
    assert left.json()["webhook_overlap_ends_at"] is None
    assert (await app.resources.webhooks.load_config("ads")).live_secrets(app.clock.now()) == (
        second,
    )
    left_config = await app.resources.webhooks.load_config("ads")
    assert [secret.text for secret in left_config.secrets] == [second]


async def test_an_operator_says_how_long_the_secret_before_counts(
    app: AppHarness, operator: httpx.AsyncClient
) -> None:
    first = (await create(operator))["webhook_secret"]
    where, now = "/admin/v1/tenants/ads/webhook-secret", app.clock.now()
    told = (await operator.post(where, json={"overlap_seconds": 60})).json()
    assert told["previous_end_at"] == "2026-03-01T12:01:00Z"
    shown = (await operator.get("/admin/v1/tenants/ads")).json()
    assert (shown["webhook_secrets"], shown["webhook_overlap_ends_at"]) == (
        2,
        "2026-03-01T12:01:00Z",
    )
    setup = await app.resources.webhooks.load_config("ads")
    assert setup.live_secrets(now) == (told["webhook_secret"], first)
    assert setup.live_secrets(now + timedelta(minutes=1)) == (told["webhook_secret"],)
    at_once = (await operator.post(where, json={"overlap_seconds": 0})).json()["webhook_secret"]
    assert (await app.resources.webhooks.load_config("ads")).live_secrets(now) == (at_once,)
    (entry,) = [e for e in await app.stores.audit.list_entries(1) if e.subject == "ads"]
    assert entry.change == "hmac; the one before ends 2026-03-01T12:00:00+00:00"


@pytest.mark.parametrize(
    "wish", [{"overlap_seconds": -1}, {"overlap_seconds": 8 * 86_400}, {"overlap": 60}]
)
async def test_a_wrong_overlap_rotates_nothing(
    operator: httpx.AsyncClient, wish: dict[str, object]
) -> None:
    await create(operator)
    refused = await operator.post("/admin/v1/tenants/ads/webhook-secret", json=wish)
    assert refused.status_code == 422
    assert (await operator.get("/admin/v1/tenants/ads")).json()["webhook_secrets"] == 1


async def test_a_file_is_applied(operator: httpx.AsyncClient) -> None:
    wish = {"tenants": {"ads": {"weight": 2}}}
    tried = await operator.put("/admin/v1/tenants?dry_run=true", json=wish)
    done = await operator.put("/admin/v1/tenants", json=wish)
    again = await operator.put("/admin/v1/tenants", json=wish)
    actions = [answer.json()["steps"][0]["action"] for answer in (tried, done, again)]
    assert actions == ["create", "create", "keep"]
    assert "key" not in tried.json()["steps"][0]
    assert done.json()["steps"][0]["changes"] == [{"field": "weight", "from": 1.0, "to": 2.0}]
    assert (await operator.put("/admin/v1/tenants?dry_run=7", json=wish)).status_code == 400


async def test_gateway_limits_are_changed_one_by_one(operator: httpx.AsyncClient) -> None:
    await operator.patch("/admin/v1/limits", json={"running": 5, "models": {KLING: 2, "a/b": 1}})
    await operator.patch("/admin/v1/limits", json={"minimum_balance_usd": 20.5})
    answer = await operator.patch("/admin/v1/limits", json={"models": {"a/b": None}})
    shown = (await operator.get("/admin/v1/limits")).json()
    assert shown == answer.json()
    assert shown["running"] == 5
    assert shown["models"] == {KLING: 2}
    assert shown["minimum_balance_usd"] == 20.5


@pytest.mark.parametrize(
    "wish",
    [
        {"running": -1},
        {"running": "5"},
        {"submits_per_second": 0},
        {"submits_per_second": True},
        {"submits_per_second": "fast"},
        {"models": ["a/b"]},
        {"models": {"a//b": 1}},
        {"models": {"a/b": -1}},
        {"minimum_balance_usd": -1},
        {"nonsense": 1},
    ],
)
async def test_an_odd_limit_is_refused_and_nothing_changes(
    operator: httpx.AsyncClient, wish: dict[str, object]
) -> None:
    before = (await operator.get("/admin/v1/limits")).json()
    answer = await operator.patch("/admin/v1/limits", json={"polls_per_second": 5, **wish})
    assert answer.status_code == 422
    assert (await operator.get("/admin/v1/limits")).json() == before


async def test_a_paused_tenant_s_jobs_wait_and_go_on_when_resumed(
    app: AppHarness, operator: httpx.AsyncClient
) -> None:
    key = (await create(operator))["key"]
    paused = await operator.post("/admin/v1/pause", json={"tenant": "ads"})
    assert paused.json() == {"paused": ["tenant:ads"]}
    async with app.client(key) as caller:
        await caller.post(KLING_PATH, json=KLING_INPUT)
        assert (await caller.get("/v1/usage")).json()["waiting"]["used"] == 1
        resumed = await operator.post("/admin/v1/resume", json={"tenant": "ads"})
        assert resumed.json() == {"paused": []}
        assert (await caller.get("/v1/usage")).json()["running"]["used"] == 1


async def test_a_pause_of_a_tenant_that_never_was_is_404(operator: httpx.AsyncClient) -> None:
    await create(operator)
    answer = await operator.post("/admin/v1/pause", json={"tenant": "adds"})
    assert (answer.status_code, answer.json()["detail"]) == (404, "There is no tenant adds.")
    assert (await operator.get("/admin/v1/audit")).json()["entries"][0]["action"] != "pause"
    await operator.delete("/admin/v1/tenants/ads")
    held_back = await operator.post("/admin/v1/pause", json={"tenant": "ads"})
    assert held_back.json() == {"paused": ["tenant:ads"]}
    assert (await operator.post("/admin/v1/resume", json={"tenant": "adds"})).status_code == 200


@pytest.mark.parametrize(
    "wish",
    [
        {},
        {"all": False},
        {"all": True, "tenant": "ads"},
        {"all": True, "tenant": None},
        {"tenant": "Bad Name"},
        {"model": "a//b"},
        {"model": 7},
    ],
)
async def test_an_odd_pause_is_refused(
    operator: httpx.AsyncClient, wish: dict[str, object]
) -> None:
    assert (await operator.post("/admin/v1/pause", json=wish)).status_code == 422
    assert (await operator.get("/admin/v1/limits")).json()["paused"] == []


@pytest.mark.parametrize(
    "wish",
    [
        {},
        {"resolution": "attach"},
        {"resolution": "attach", "upstream_request_id": 7},
        {"resolution": "lost", "upstream_request_id": "x"},
        {"resolution": "maybe"},
    ],
)
async def test_an_odd_resolution_is_refused(
    operator: httpx.AsyncClient, wish: dict[str, object]
) -> None:
    assert (await operator.post("/admin/v1/doubts/req_1", json=wish)).status_code == 422


async def test_what_runcomfy_changed_is_listed(
    app: AppHarness, operator: httpx.AsyncClient
) -> None:
    change = ModelChange(app.clock.now(), "a/b", ModelChangeKind.FIELD_REMOVED, "seed")
    await app.stores.catalogue.append_change(change)
    answer = await operator.get("/admin/v1/catalogue/changes")
    assert answer.json()["changes"] == [
        {
            "at": "2026-03-01T12:00:00Z",
            "model_id": "a/b",
            "kind": "field_removed",
            "subject": "seed",
            "detail": "",
        }
    ]
    assert (await operator.get("/admin/v1/catalogue/changes?limit=0")).status_code == 400


_NOTHING_TO_DO = {
    "retire": ("DELETE", "tenants/ads/webhook-secret/previous", None),
    "enable": ("PATCH", "tenants/ads/endpoints/default", {"enabled": True}),
    "same_url": ("PATCH", "tenants/ads/endpoints/default", {"url": "https://ads.example/hook"}),
    "no_field": ("PATCH", "tenants/ads/endpoints/default", {}),
    "pause": ("POST", "pause", {"tenant": "ads"}),
    "resume": ("POST", "resume", {"all": True}),
    "circuit": ("POST", "circuits/reset", {"circuit": "account"}),
    "limits": ("PATCH", "limits", {"running": None}),
    "tenant": ("PATCH", "tenants/ads", {"usd_per_day": 25}),
    "top_ups": ("DELETE", "tenants/ads/top-ups", None),
}


@pytest.mark.parametrize("act", _NOTHING_TO_DO.values(), ids=_NOTHING_TO_DO.keys())
async def test_an_act_that_changes_nothing_is_not_audited_as_done(
    app: AppHarness, operator: httpx.AsyncClient, act: tuple[str, str, object]
) -> None:
    """`gateway webhook retire` wrote an entry where there was no older secret."""
    method, path, body = act
    await create(operator, usd_per_day=25, webhook="https://ads.example/hook")
    await operator.post("/admin/v1/tenants/ads/webhook-secret", json={"overlap_seconds": 60})
    await app.clock.advance(timedelta(seconds=61))
    await operator.post("/admin/v1/pause", json={"tenant": "ads"})
    before = await app.stores.audit.list_entries(10)
    answer = await operator.request(method, f"/admin/v1/{path}", json=body)
    assert answer.is_success
    assert await app.stores.audit.list_entries(10) == before


async def test_every_act_is_in_the_audit_log_without_secrets(operator: httpx.AsyncClient) -> None:
    made = await create(operator, usd_per_day=25)
    await operator.patch("/admin/v1/tenants/ads", json={"usd_per_day": 30})
    await operator.patch("/admin/v1/tenants/ads", json={"usd_per_day": 30})  # changes nothing
    key = (await operator.post("/admin/v1/tenants/ads/keys", json={})).json()
    await operator.delete(f"/admin/v1/tenants/ads/keys/{key['key_id']}")
    secret = (await operator.post("/admin/v1/tenants/ads/webhook-secret")).json()
    await operator.delete("/admin/v1/tenants/ads/webhook-secret/previous")
    await operator.patch("/admin/v1/limits", json={"running": 5})
    await operator.post("/admin/v1/pause", json={"all": True})
    await operator.post("/admin/v1/resume", json={"all": True})
    await operator.delete("/admin/v1/tenants/ads")

    answer = await operator.get("/admin/v1/audit")
    entries = answer.json()["entries"]
    assert [entry["action"] for entry in reversed(entries)] == [
        "tenant.create",
        "tenant.change",
        "key.create",
        "key.revoke",
        "webhook.rotate",
        "webhook.retire",
        "limits.set",
        "pause",
        "resume",
        "tenant.delete",
    ]
    assert entries[-2]["change"] == "usd_per_day: 25.0 -> 30.0"
    assert {entry["actor"] for entry in entries} == {"admin-api"}
    for told in (made["key"], made["webhook_secret"], key["key"], secret["webhook_secret"]):
        assert told not in answer.text
    assert (await operator.get("/admin/v1/audit?limit=1")).json()["entries"] == entries[:1]


@pytest.mark.parametrize("limit", ["0", "1001", "-1", "x", "99999"])
async def test_an_odd_count_is_refused(operator: httpx.AsyncClient, limit: str) -> None:
    assert (await operator.get(f"/admin/v1/audit?limit={limit}")).status_code == 400


async def test_a_store_that_is_away_is_503(app: AppHarness, operator: httpx.AsyncClient) -> None:
    class Away(MemoryAuditLogStore):
        async def list_entries(self, limit: int, tenant: str | None = None) -> Sequence[AuditEntry]:
            raise StoreUnavailable(f"asked for {limit} of {tenant}")

    app.replace_resources(admin=app.admin_context_with(audit=Away(app.stores.memory)))
    assert (await operator.get("/admin/v1/audit")).status_code == 503


async def test_an_operator_reads_a_tenant_s_use(
    operator: httpx.AsyncClient, app: AppHarness
) -> None:
    key = (await create(operator, usd_per_day=2))["key"]
    async with app.client(key) as caller:
        await caller.post(KLING_PATH, json=KLING_INPUT)
        own = (await caller.get("/v1/usage")).json()
    assert (await operator.get("/admin/v1/tenants/ads/usage")).json() == own
    assert own["windows"][0]["usd"]["reserved"] == MicroUsd(630_000) / 1_000_000


async def test_the_bill_of_a_deleted_tenant_can_be_read(
    operator: httpx.AsyncClient, app: AppHarness
) -> None:
    key = (await create(operator))["key"]
    async with app.client(key) as caller:
        await caller.post(KLING_PATH, json=KLING_INPUT)
    await operator.delete("/admin/v1/tenants/ads")
    used = (await operator.get("/admin/v1/tenants/ads/usage")).json()
    assert used["windows"][0]["usd"]["reserved"] == MicroUsd(630_000) / 1_000_000
    listed = (await operator.get("/admin/v1/tenants/ads/requests")).json()
    assert len(listed["requests"]) == 1
    assert (await operator.get("/admin/v1/tenants/nobody/usage")).status_code == 404


async def test_a_key_may_do_less_than_its_tenant(
    app: AppHarness, operator: httpx.AsyncClient
) -> None:
    await app.tenant("small")
    wish = {"addresses": ["192.0.2.0/24"], "models": ["flux/*"], "usd_per_day": 5}
    made = (await operator.post("/admin/v1/tenants/small/keys", json=wish)).json()
    assert {name: made[name] for name in wish} == wish
    async with app.client(made["key"]) as elsewhere:
        assert (await elsewhere.get("/v1/usage")).status_code == 403
    (entry, *_) = await app.stores.audit.list_entries(1)
    assert "usd_per_day 5.0; addresses 192.0.2.0/24; models flux/*" in entry.change


@pytest.mark.parametrize("address", ["10.0.0.1/8", "host.example", "", "10.0.0.0/33", 7])
async def test_what_is_no_network_is_refused(
    app: AppHarness, operator: httpx.AsyncClient, address: object
) -> None:
    await app.tenant("small")
    answer = await operator.post("/admin/v1/tenants/small/keys", json={"addresses": [address]})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["path"] == "/addresses/0"


async def test_the_audit_log_has_addresses_and_what_operators_read(
    app: AppHarness, operator: httpx.AsyncClient
) -> None:
    key = await app.tenant("read")
    async with app.client(key) as caller:
        request_id = (await caller.post(KLING_PATH, json=KLING_INPUT)).json()["request_id"]
    assert (await operator.get("/admin/v1/requests/none")).status_code == 404
    await operator.get(f"/admin/v1/requests/{request_id}")
    entries = (await operator.get("/admin/v1/audit")).json()["entries"]
    assert [(one["action"], one["subject"], one["address"]) for one in entries] == [
        ("request.read", request_id, "127.0.0.1")
    ]
