"""Operators: created, listed, revoked and expired; the audit log names them."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import orjson
import pytest

from core.operators.audit import AuditRecord, find_break
from core.operators.operator import Role
from tests.support.app import KLING_INPUT, KLING_PATH, AppHarness, create_operator
from tests.support.memory_store.audit import MemoryAuditLogStore

TOKEN = "operators-token-of-32-characters"
OPERATORS = "/admin/v1/operators"
AUDIT = "/admin/v1/audit"


@pytest.fixture
async def operator(app: AppHarness) -> AsyncIterator[httpx.AsyncClient]:
    """A client with the configured token."""
    app.enable_admin_api(TOKEN)
    async with app.client(TOKEN) as http:
        yield http


async def entries(app: AppHarness) -> list[tuple[str, str, str, str]]:
    """Actor, action, subject and change, oldest first."""
    found = await app.stores.audit.list_entries(1000)
    return [(one.actor, one.action, one.subject, one.change) for one in reversed(found)]


async def test_an_operator_is_created_shown_and_revoked(
    app: AppHarness, operator: httpx.AsyncClient
) -> None:
    wish = {"operator": "ada", "roles": ["operate", "money"], "expires_at": "2027-01-01T00:00:00Z"}
    answer = await operator.post(OPERATORS, json=wish)
    made = answer.json()
    token = made.pop("token")
    assert answer.status_code == 201
    assert token.startswith("rco_ada_")
    assert made == {
        "operator": "ada",
        "roles": ["money", "operate"],
        "created_at": "2026-03-01T12:00:00Z",
        "created_by": "admin-api",
        "expires_at": "2027-01-01T00:00:00Z",
        "last_used_at": None,
    }
    async with app.client(token) as ada:
        await ada.post("/admin/v1/pause", json={"all": True})
        (listed,) = (await ada.get(OPERATORS)).json()["operators"]
        assert listed == {**made, "last_used_at": "2026-03-01T12:00:00Z"}
        assert (await operator.delete(f"{OPERATORS}/ada")).status_code == 204
        assert (await ada.get(OPERATORS)).status_code == 401
    assert (await operator.delete(f"{OPERATORS}/ada")).status_code == 404
    assert [one for one in await entries(app) if one[1] != "log-in.fail"] == [
        (
            "admin-api",
            "operator.create",
            "ada",
            "roles money,operate; expires 2027-01-01T00:00:00+00:00",
        ),
        ("operator:ada", "pause", "all", ""),
        ("admin-api", "operator.revoke", "ada", ""),
    ]


async def test_an_expired_token_is_none(app: AppHarness, operator: httpx.AsyncClient) -> None:
    soon = (app.clock.now() + timedelta(hours=1)).isoformat()
    wish = {"operator": "ada", "roles": ["read"], "expires_at": soon}
    token = (await operator.post(OPERATORS, json=wish)).json()["token"]
    async with app.client(token) as ada:
        assert (await ada.get(OPERATORS)).status_code == 200
        await app.clock.advance(timedelta(hours=1))
        assert (await ada.get(OPERATORS)).status_code == 401


@pytest.mark.parametrize(
    "wish",
    [
        {},
        {"operator": "ada"},
        {"operator": "ada", "roles": []},
        {"operator": "ada", "roles": ["root"]},
        {"operator": "Ada", "roles": ["read"]},
        {"operator": "a_b", "roles": ["read"]},
        {"operator": "", "roles": ["read"]},
        {"operator": "a" * 41, "roles": ["read"]},
        {"operator": "ada", "roles": ["read"], "expires_at": "2020-01-01T00:00:00Z"},
        {"operator": "ada", "roles": ["read"], "token": "mine"},
    ],
)
async def test_what_is_no_operator_is_refused(
    app: AppHarness, operator: httpx.AsyncClient, wish: dict[str, Any]
) -> None:
    assert (await operator.post(OPERATORS, json=wish)).status_code == 422
    assert await app.stores.operators.list_all() == []


async def test_a_store_that_lost_everything_refuses_no_operator(app: AppHarness) -> None:
    app.enable_admin_api(TOKEN)
    token = await create_operator(app, "ada", [Role.OPERATE])
    app.stores.memory.operators.clear()
    app.stores.memory.position = None
    async with app.client(token) as ada:
        answer = await ada.get(OPERATORS)
    assert (answer.status_code, answer.json()["code"]) == (503, "store_unknown")


async def test_a_name_is_taken_once(operator: httpx.AsyncClient) -> None:
    wish = {"operator": "ada", "roles": ["read"]}
    answers = [await operator.post(OPERATORS, json=wish) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 409]


async def test_operators_work_without_a_configured_token(app: AppHarness) -> None:
    token = await create_operator(app, "ada", {Role.READ})
    async with app.client(token) as ada:
        assert (await ada.get(OPERATORS)).status_code == 404
        app.serve_admin_listener()
        assert (await ada.get(OPERATORS)).status_code == 200


async def test_failed_log_ins_are_in_the_audit_log_and_cannot_fill_it(app: AppHarness) -> None:
    app.enable_admin_api(TOKEN)
    ada = await create_operator(app, "ada", {Role.READ})
    await app.stores.operators.revoke("ada")
    before = len(await entries(app))
    async with app.client(ada) as revoked, app.client("wrong") as stranger:
        await revoked.get(AUDIT)
        for _ in range(30):
            await stranger.get(AUDIT)
        await app.clock.advance(timedelta(minutes=10))
        await stranger.get(AUDIT)
    listed = (await entries(app))[before:]
    assert listed[0] == ("unknown", "log-in.fail", "ada", "")
    assert listed[1] == ("unknown", "log-in.fail", "-", "")
    assert len(listed) == 21
    assert listed[-1] == ("unknown", "log-in.fail", "-", "11 more are not listed")
    (newest, *_) = await app.stores.audit.list_entries(1)
    assert newest.address == "127.0.0.1"


async def test_calls_without_the_role_are_in_the_audit_log(app: AppHarness) -> None:
    app.enable_admin_api(TOKEN)
    async with app.client(await create_operator(app, "ada", {Role.READ})) as ada:
        answer = await ada.post("/admin/v1/pause", json={"all": True})
    assert answer.json()["detail"] == "This needs the role operate; operator:ada has read."
    assert (await entries(app))[-1] == ("operator:ada", "access.deny", "pause", "")


async def test_what_an_operator_read_is_in_the_audit_log(app: AppHarness) -> None:
    app.enable_admin_api(TOKEN)
    async with app.client(await app.tenant("read")) as caller:
        request_id = (await caller.post(KLING_PATH, json=KLING_INPUT)).json()["request_id"]
    async with app.client(await create_operator(app, "ada", {Role.READ})) as ada:
        await ada.get(f"/admin/v1/requests/{request_id}")
    assert (await entries(app))[-1] == ("operator:ada", "request.read", request_id, "")


async def test_the_log_is_exported_as_it_is_stored(
    operator: httpx.AsyncClient,
) -> None:
    for name in ("a", "b"):
        await operator.post("/admin/v1/pause", json={"model": f"x/{name}"})
    answer = await operator.get(f"{AUDIT}/export")
    assert answer.headers["content-type"] == "application/jsonl"
    rows = [orjson.loads(line) for line in answer.text.splitlines()]
    assert [row["entry"]["subject"] for row in rows] == ["model:x/a", "model:x/b"]
    records = [AuditRecord(orjson.dumps(r["entry"]), r["previous"], r["digest"]) for r in rows]
    assert find_break(records, "") is None


async def test_a_changed_log_is_found(app: AppHarness, operator: httpx.AsyncClient) -> None:
    for name in ("a", "b", "c"):
        await operator.post("/admin/v1/pause", json={"model": f"x/{name}"})
    whole = {"intact": True, "records": 3, "broken": None, "export_is_part": None}
    assert (await operator.get(f"{AUDIT}/verify")).json() == whole
    kept = app.stores.memory.audit[None]
    app.stores.memory.audit[None] = [kept[0], kept[2]]
    found = (await operator.get(f"{AUDIT}/verify")).json()
    assert (found["intact"], found["broken"]) == (False, kept[2][1].digest)


@pytest.mark.parametrize("path", [AUDIT, f"{AUDIT}/export", f"{AUDIT}/verify"])
async def test_a_tenant_s_own_acts_have_a_log_of_their_own(
    app: AppHarness, operator: httpx.AsyncClient, path: str
) -> None:
    async with app.client(await app.tenant("acts")) as caller:
        await caller.post("/v1/webhooks/secret/rotate")
    await operator.post("/admin/v1/pause", json={"all": True})
    answer = await operator.get(path, params={"tenant": "acts"})
    assert answer.status_code == 200
    assert ("webhook.rotate" in answer.text) is (path != f"{AUDIT}/verify")
    assert "pause" not in answer.text
    assert (await operator.get(path, params={"tenant": "../x"})).status_code == 404


def test_the_audit_log_has_no_way_to_change_an_entry() -> None:
    methods = {name for name in vars(MemoryAuditLogStore) if not name.startswith("_")}
    assert methods == {"append", "list_entries", "read_records"}
