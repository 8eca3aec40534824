"""Every operation of tenants and every scope of a key: who may do what."""

from collections.abc import AsyncIterator

import httpx
import pytest

from core.tenants.api_keys import Scope
from service.http.scopes import SCOPE_OF_OPERATION
from tests.support.app import KLING, KLING_INPUT, ApiOperation, AppHarness, api_operations

TENANTS = [one for one in api_operations() if not one.path.startswith("/admin/")]
WITH_KEY = [one for one in TENANTS if SCOPE_OF_OPERATION[one.name] is not None]
WITHOUT_KEY = [one for one in TENANTS if one not in WITH_KEY]
NOWHERE = {
    "request_id": "01890000-0000-7000-8000-000000000000",
    "index": "0",
    "batch_id": "bat_01KAP7ZJ5V9GQH6MTB2X0C4E8R",
    "endpoint_id": "default",
    "delivery_id": "msg_1",
    "file_id": "file_01KAP7ZJ5V9GQH6MTB2X0C4E8R",
    "tenant": "video-team",
}


def path_of(operation: ApiOperation) -> str:
    return operation.path.replace("{model_id:path}", KLING).format(**NOWHERE)


def body_of(operation: ApiOperation) -> dict[str, object]:
    return KLING_INPUT if operation.name == "submit" else {}


@pytest.fixture
async def clients(app: AppHarness) -> AsyncIterator[dict[Scope, httpx.AsyncClient]]:
    """A client of a key for each scope."""
    clients = {
        scope: app.client(await app.tenant(scope.value, scopes=frozenset({scope})))
        for scope in Scope
    }
    yield clients
    for client in clients.values():
        await client.aclose()


@pytest.mark.parametrize("operation", WITH_KEY, ids=lambda operation: operation.name)
async def test_a_key_needs_the_scope_of_the_table_and_no_other(
    clients: dict[Scope, httpx.AsyncClient], operation: ApiOperation
) -> None:
    needed = SCOPE_OF_OPERATION[operation.name]
    for scope, client in clients.items():
        answer = await client.request(operation.method, path_of(operation), json=body_of(operation))
        assert (answer.status_code == 403) is (scope is not needed), (scope, answer.text)
        assert answer.status_code not in {401, 500}


@pytest.mark.parametrize("operation", WITH_KEY, ids=lambda operation: operation.name)
async def test_without_a_key_nothing_is_answered(app: AppHarness, operation: ApiOperation) -> None:
    async with app.client() as caller:
        answer = await caller.request(operation.method, path_of(operation), json={})
    assert answer.status_code == 401


@pytest.mark.parametrize("operation", WITHOUT_KEY, ids=lambda operation: operation.name)
async def test_some_calls_need_no_key(app: AppHarness, operation: ApiOperation) -> None:
    async with app.client() as caller:
        answer = await caller.request(operation.method, path_of(operation))
    assert answer.status_code not in {401, 403, 500}


async def test_the_reference_says_which_scope(app: AppHarness) -> None:
    async with app.client() as caller:
        paths = (await caller.get("/openapi.json")).json()["paths"]
    for one in WITH_KEY:
        (described,) = [
            operations[one.method.lower()]["description"]
            for path, operations in paths.items()
            if path == one.path.replace(":path", "") and one.method.lower() in operations
        ]
        assert described.endswith(f"Scope: `{SCOPE_OF_OPERATION[one.name]}`."), one.name
