"""Every operation of the admin API and every operator's role: who may do what."""

from collections.abc import AsyncIterator

import httpx
import pytest

from core.operators.operator import Role, permits
from service.admin.roles import ACTS, ROLE_OF_OPERATION
from tests.support.app import ApiOperation, AppHarness, api_operations, create_operator

PREFIX = "admin_"
ADMIN = [one for one in api_operations() if one.path.startswith("/admin/")]
KNOWN = {
    "tenant": "ads",
    "key_id": "0" * 16,
    "request_id": "req_1",
    "endpoint_id": "x",
    "delivery_id": "msg_1",
    "operator": "nobody",
}


def role_of(operation: ApiOperation) -> Role:
    return ROLE_OF_OPERATION[operation.name.removeprefix(PREFIX)]


def test_the_table_has_every_operation_once() -> None:
    listed = [act.operation for act in ACTS if act.operation]
    assert sorted(listed) == sorted(one.name.removeprefix(PREFIX) for one in ADMIN)


def test_no_change_needs_the_role_read_alone() -> None:
    assert [
        one.name for one in ADMIN if (one.method == "GET") is not (role_of(one) is Role.READ)
    ] == []


@pytest.fixture
async def clients(app: AppHarness) -> AsyncIterator[dict[Role, httpx.AsyncClient]]:
    """A client of an operator for each role."""
    app.enable_admin_api("configured-token-of-32-characters")
    clients = {role: app.client(await create_operator(app, role.value, {role})) for role in Role}
    yield clients
    for client in clients.values():
        await client.aclose()


@pytest.mark.parametrize("operation", ADMIN, ids=lambda operation: operation.name)
async def test_each_role_may_do_its_own_acts_and_no_other(
    clients: dict[Role, httpx.AsyncClient], operation: ApiOperation
) -> None:
    path = operation.path.format(**KNOWN)
    for role, client in clients.items():
        answer = await client.request(operation.method, path, json={})
        is_refused = answer.status_code == 403
        assert is_refused is not permits(frozenset({role}), role_of(operation)), (role, answer.text)
        assert answer.status_code not in {401, 500}


@pytest.mark.parametrize("operation", ADMIN, ids=lambda operation: operation.name)
async def test_a_body_is_not_read_without_the_role(
    clients: dict[Role, httpx.AsyncClient], operation: ApiOperation
) -> None:
    if role_of(operation) is Role.READ:
        return
    path = operation.path.format(**KNOWN)
    answer = await clients[Role.READ].request(operation.method, path, content=b"{not json")
    assert answer.status_code == 403


async def test_the_reference_says_which_role(app: AppHarness) -> None:
    async with app.client() as client:
        paths = (await client.get("/openapi.json")).json()["paths"]
    for one in ADMIN:
        description = paths[one.path][one.method.lower()]["description"]
        assert description.endswith(f"Role: `{role_of(one)}`."), one.name
