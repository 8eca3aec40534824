"""The list of a tenant's requests, and the deletion of one, through the API."""

from datetime import timedelta
from typing import Any

import httpx
import pytest

from core.jobs.job import Job
from core.jobs.query import MAX_JOBS_PER_PAGE
from core.observability.events import JobDeleted, JobTransitioned
from core.store.job_index import DeletionResult
from core.tenants.api_keys import Scope, api_key_digest
from service.jobs.delete import MAX_TRIES
from tests.support.app import KLING, KLING_INPUT, KLING_PATH, AppHarness
from tests.support.memory_store.job_index import MemoryJobIndex

SECOND = timedelta(seconds=1)


async def submitted(app: AppHarness, caller: httpx.AsyncClient, **options: str) -> str:
    """Submit a job one second after the last one and return its id."""
    app.clock.move(SECOND)
    answer = await caller.post(KLING_PATH, params=options, json=KLING_INPUT)
    job_id: str = answer.json()["request_id"]
    return job_id


async def cancelled(app: AppHarness, caller: httpx.AsyncClient) -> str:
    """Cancel a job and return its id."""
    job_id = await submitted(app, caller)
    await caller.post(f"/v1/requests/{job_id}/cancel")
    return job_id


async def page(caller: httpx.AsyncClient, **fields: str) -> dict[str, Any]:
    """Return one page of the list."""
    answer = await caller.get("/v1/requests", params=fields)
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


def ids(document: dict[str, Any]) -> list[str]:
    """The ids on a page."""
    return [one["request_id"] for one in document["requests"]]


async def test_a_line_of_the_list(app: AppHarness, caller: httpx.AsyncClient, key: str) -> None:
    job_id = await submitted(app, caller, reference="order-1729")
    assert await page(caller) == {
        "requests": [
            {
                "request_id": job_id,
                "status": "in_queue",
                "model_id": KLING,
                "reference": "order-1729",
                "key_id": api_key_digest(key)[:16],
                "created_at": "2026-03-01T12:00:01Z",
                "billed": "no",
                "status_url": f"http://gateway.test/v1/requests/{job_id}/status",
                "result_url": f"http://gateway.test/v1/requests/{job_id}/result",
                "cancel_url": f"http://gateway.test/v1/requests/{job_id}/cancel",
            }
        ]
    }


async def test_pages_lead_to_the_oldest(app: AppHarness, caller: httpx.AsyncClient) -> None:
    made = [await submitted(app, caller) for _ in range(5)]
    found: list[str] = []
    document = await page(caller, limit="2")
    while True:
        found += ids(document)
        if "next_cursor" not in document:
            break
        await submitted(app, caller)
        document = await page(caller, limit="2", cursor=document["next_cursor"])
    assert found == made[::-1]


async def test_filters_are_joined(app: AppHarness, caller: httpx.AsyncClient) -> None:
    first = await submitted(app, caller, reference="a")
    ended = await cancelled(app, caller)
    last = await submitted(app, caller, reference="b")
    assert ids(await page(caller, reference="a")) == [first]
    assert ids(await page(caller, status="cancelled")) == [ended]
    assert ids(await page(caller, status="in_queue", model_id=KLING)) == [last, first]
    assert ids(await page(caller, model_id="flux/dev")) == []
    assert ids(await page(caller, created_after="2026-03-01T12:00:03Z")) == [last]
    assert ids(await page(caller, created_before="2026-03-01T12:00:02Z")) == [first]


async def test_nobody_sees_another_tenant_s(app: AppHarness, caller: httpx.AsyncClient) -> None:
    await submitted(app, caller)
    async with app.client(await app.tenant("other-team")) as stranger:
        assert await page(stranger) == {"requests": []}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("status", "done"),
        ("status", ""),
        ("model_id", ""),
        ("model_id", "a\nb"),
        ("reference", "x" * 257),
        ("created_after", "yesterday"),
        ("created_before", ""),
        ("limit", "0"),
        ("limit", str(MAX_JOBS_PER_PAGE + 1)),
        ("limit", "-1"),
        ("limit", "²"),
        ("limit", "1" * 5000),
        ("cursor", ""),
        ("cursor", "req_1"),
        ("cursor", "ü"),
        ("cursor", "MTIz"),
        ("offset", "1"),
    ],
)
async def test_nonsense_is_named(caller: httpx.AsyncClient, name: str, text: str) -> None:
    answer = await caller.get("/v1/requests", params={name: text})
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_request")
    assert [error["path"] for error in answer.json()["errors"]] == [f"?{name}"]


async def test_an_empty_stretch_is_nonsense_too(caller: httpx.AsyncClient) -> None:
    instant = "2026-03-01T12:00:00Z"
    answer = await caller.get(
        "/v1/requests", params={"created_after": instant, "created_before": instant}
    )
    assert answer.status_code == 400


async def test_a_wrong_key_learns_nothing(app: AppHarness, caller: httpx.AsyncClient) -> None:
    await submitted(app, caller)
    async with app.client() as stranger:
        assert (await stranger.get("/v1/requests?limit=0")).status_code == 401
    writes = await app.tenant("writer", scopes=frozenset({Scope.SUBMIT}))
    async with app.client(writes) as writer:
        assert (await writer.get("/v1/requests?limit=0")).status_code == 403
        assert (await writer.get("/v1/requests")).status_code == 403


# --- deleting


async def test_a_deleted_request_is_gone(app: AppHarness, caller: httpx.AsyncClient) -> None:
    job_id = await cancelled(app, caller)
    answer = await caller.delete(f"/v1/requests/{job_id}")
    assert (answer.status_code, answer.content) == (204, b"")
    again = await caller.delete(f"/v1/requests/{job_id}")
    assert again.status_code == 404
    assert (await caller.get(f"/v1/requests/{job_id}")).status_code == 404
    assert await page(caller) == {"requests": []}
    assert [event.job_id for event in app.events_of(JobDeleted)] == [job_id]


async def test_what_it_cost_stays_in_the_books(app: AppHarness, caller: httpx.AsyncClient) -> None:
    job_id = await cancelled(app, caller)
    before = (await caller.get("/v1/usage")).json()
    await caller.delete(f"/v1/requests/{job_id}")
    assert (await caller.get("/v1/usage")).json() == before


async def test_an_open_request_is_to_be_cancelled_first(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    job_id = await submitted(app, caller)
    answer = await caller.delete(f"/v1/requests/{job_id}")
    assert (answer.status_code, answer.json()["code"]) == (409, "job_open")
    assert "cancel" in answer.json()["detail"]


async def test_a_callback_that_is_to_come_comes_first(app: AppHarness) -> None:
    key = await app.tenant("called-back", webhook="https://hooks.example.com/")
    async with app.client(key) as caller:
        job_id = await cancelled(app, caller)
        answer = await caller.delete(f"/v1/requests/{job_id}")
    assert (answer.status_code, answer.json()["code"]) == (409, "job_awaited")
    assert answer.json()["retryable"] is True


async def test_only_its_owner_with_a_key_that_may_cancel_deletes(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    job_id = await cancelled(app, caller)
    async with app.client(await app.tenant("other-team")) as stranger:
        assert (await stranger.delete(f"/v1/requests/{job_id}")).status_code == 404
    limited = await app.tenant("limited", scopes=frozenset({Scope.READ, Scope.SUBMIT}))
    async with app.client(limited) as reader:
        assert (await reader.delete(f"/v1/requests/{job_id}")).status_code == 403
    assert ids(await page(caller)) == [job_id]


class ContendedJobIndex(MemoryJobIndex):
    """Loses the first `losses` writes to another writer."""

    lost_races = 1

    async def delete(self, job: Job) -> DeletionResult:
        if self.lost_races:
            self.lost_races -= 1
            return DeletionResult.CONFLICT
        return await super().delete(job)


@pytest.mark.parametrize(("losses", "status"), [(1, 204), (MAX_TRIES, 409)])
async def test_a_race_is_tried_again(
    app: AppHarness, caller: httpx.AsyncClient, losses: int, status: int
) -> None:
    raced = ContendedJobIndex(app.stores.memory)
    raced.lost_races = losses
    app.replace_stores(job_index=raced)
    job_id = await cancelled(app, caller)
    assert (await caller.delete(f"/v1/requests/{job_id}")).status_code == status


class VanishingJobIndex(MemoryJobIndex):
    """The record disappears between the read and the delete."""

    async def delete(self, job: Job) -> DeletionResult:
        assert job.id
        return DeletionResult.NOT_FOUND


async def test_a_job_that_is_gone_by_then_is_404(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    app.replace_stores(job_index=VanishingJobIndex(app.stores.memory))
    job_id = await cancelled(app, caller)
    assert (await caller.delete(f"/v1/requests/{job_id}")).status_code == 404
    assert len(app.events_of(JobTransitioned)) == 1


# --- for operators

TOKEN = "operators-token-of-32-characters"


async def test_an_operator_lists_any_tenant_s(app: AppHarness, caller: httpx.AsyncClient) -> None:
    job_id = await submitted(app, caller, reference="a")
    await submitted(app, caller)
    app.enable_admin_api(TOKEN)
    root = "/admin/v1/tenants"
    async with app.client(TOKEN) as operator:
        found = await operator.get(f"{root}/video-team/requests", params={"reference": "a"})
        wrong = await operator.get(f"{root}/video-team/requests", params={"limit": "0"})
        unknown = await operator.get(f"{root}/nobody/requests")
    assert ids(found.json()) == [job_id]
    assert (wrong.status_code, unknown.status_code) == (400, 404)
