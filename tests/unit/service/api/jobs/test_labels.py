"""Labels of requests: where they are given, where they come back, and the list by label."""

from typing import Any

import httpx
import orjson
import pytest

from core.jobs.job import JobRecord
from core.observability.events import JobAdmitted, JobTransitioned
from core.representations.webhooks import webhook_data
from core.tenants.api_keys import api_key_digest
from core.webhooks.delivery import WebhookEventType
from core.webhooks.endpoint import PayloadStyle
from tests.support.app import KLING, KLING_INPUT, KLING_PATH, AppHarness

GROWTH = {"app": "web", "team": "growth"}


async def submit(
    caller: httpx.AsyncClient, query: str = "", **headers: str
) -> tuple[int, dict[str, Any]]:
    """Return the status and the document of a submit."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = await caller.post(f"{KLING_PATH}?{query}", json=KLING_INPUT, headers=named)
    return answer.status_code, answer.json()


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ("label=team:growth&label=app:web", {}),
        ("label=team:growth,app:web", {}),
        ("", {"gateway_labels": "team=growth, app=web"}),
        ("label=team:growth", {"gateway_labels": 'app="web", team=other'}),
    ],
)
async def test_labels_come_back_with_the_request(
    caller: httpx.AsyncClient, query: str, headers: dict[str, str]
) -> None:
    status, answer = await submit(caller, query, **headers)
    assert (status, answer["labels"]) == (202, GROWTH)
    url = f"/v1/requests/{answer['request_id']}"
    for path in ("", "/status", "/result"):
        assert (await caller.get(url + path)).json()["labels"] == GROWTH
    (line,) = (await caller.get("/v1/requests")).json()["requests"]
    assert line["labels"] == GROWTH


async def test_a_request_without_labels_shows_none(caller: httpx.AsyncClient) -> None:
    assert "labels" not in (await submit(caller))[1]


@pytest.mark.parametrize(
    ("query", "headers", "path"),
    [
        ("label=team", {}, "?label"),
        ("label=Team:x", {}, "?label"),
        ("label=team:a&label=team:b", {}, "?label"),
        ("label=" + ",".join(f"k{n}:v" for n in range(17)), {}, "?label"),
        ("", {"gateway_labels": "team"}, None),
    ],
)
async def test_a_wrong_label_is_refused(
    caller: httpx.AsyncClient, query: str, headers: dict[str, str], path: str | None
) -> None:
    status, answer = await submit(caller, query, **headers)
    assert (status, answer["code"]) == (400, "malformed_request")
    assert [error["path"] for error in answer.get("errors", [])] == ([path] if path else [])


async def test_no_other_option_may_be_repeated(caller: httpx.AsyncClient) -> None:
    assert (await submit(caller, "reference=a&reference=b"))[0] == 400


async def test_labels_are_not_part_of_the_input(caller: httpx.AsyncClient) -> None:
    _, first = await submit(caller, "label=team:a", idempotency_key="k")
    status, again = await submit(caller, "label=team:b", idempotency_key="k")
    assert (status, again["request_id"]) == (202, first["request_id"])
    assert again["labels"] == {"team": "a"}


async def test_a_follower_has_its_own_labels(caller: httpx.AsyncClient) -> None:
    await submit(caller, "cache=use&label=team:a")
    _, follower = await submit(caller, "cache=use&label=team:b")
    assert follower["labels"] == {"team": "b"}


async def test_the_list_by_label(caller: httpx.AsyncClient) -> None:
    found = {}
    for number, query in enumerate(
        ("label=team:a", "label=team:a&label=app:web", "label=team:ab", "reference=team%3Da")
    ):
        found[number] = (await submit(caller, query))[1]["request_id"]

    async def listed(query: str) -> set[str]:
        document = (await caller.get(f"/v1/requests?{query}")).json()
        return {one["request_id"] for one in document["requests"]}

    assert await listed("label=team:a") == {found[0], found[1]}
    assert await listed("label=team:a&label=app:web") == {found[1]}
    assert await listed("label=app:none") == set()
    answer = await caller.get("/v1/requests?label=Team:a")
    assert answer.json()["errors"][0]["path"].startswith("?label")


async def test_labels_are_in_webhooks_and_events(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    _, answer = await submit(caller, "label=team:a")
    await caller.post(f"/v1/requests/{answer['request_id']}/cancel")
    (job,) = app.stores.memory.all_jobs()
    for event in (WebhookEventType.CANCELLED, WebhookEventType.IN_QUEUE):
        for style in PayloadStyle:
            data = orjson.loads(webhook_data(JobRecord(job), event, style))
            assert data["labels"] == {"team": "a"}
    assert [one.labels for one in app.events_of(JobAdmitted)] == [("team=a",)]
    assert [one.labels for one in app.events_of(JobTransitioned)] == [("team=a",)]


async def test_items_of_a_batch_have_the_labels_of_the_batch_and_their_own(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    items = [
        {"model_id": KLING, "input": {**KLING_INPUT, "prompt": "One."}},
        {
            "model_id": KLING,
            "input": {**KLING_INPUT, "prompt": "Two."},
            "labels": {"team": "own", "shot": "2"},
        },
    ]
    body = {"items": items, "labels": {"team": "growth"}}
    answer = await caller.post("/v1/batches", json=body, headers={"gateway-labels": "app=web"})
    assert answer.status_code == 202, answer.text
    labels = sorted(job.labels for job in app.stores.memory.all_jobs())
    assert labels == [("app=web", "shot=2", "team=own"), ("app=web", "team=growth")]


@pytest.mark.parametrize(
    ("labels", "own", "path"),
    [
        ("team:a", None, "/labels"),
        ({"team": 7}, None, "/labels"),
        (None, {"Team": "a"}, "/items/0/labels"),
        (None, ["team:a"], "/items/0/labels"),
        ({f"k{n}": "v" for n in range(10)}, {f"m{n}": "v" for n in range(10)}, "/items/0/labels"),
    ],
)
async def test_a_wrong_label_of_a_batch_is_named(
    caller: httpx.AsyncClient, labels: object, own: object, path: str
) -> None:
    item: dict[str, object] = {"model_id": KLING, "input": KLING_INPUT}
    body: dict[str, object] = {"items": [item if own is None else item | {"labels": own}]}
    answer = await caller.post(
        "/v1/batches", json=body if labels is None else body | {"labels": labels}
    )
    assert answer.status_code in {400, 422}
    assert [error["path"] for error in answer.json()["errors"]] == [path]


async def test_a_request_names_the_key_that_submitted_it(
    caller: httpx.AsyncClient, key: str
) -> None:
    _, answer = await submit(caller)
    key_id = api_key_digest(key)[:16]
    assert (await caller.get(f"/v1/requests/{answer['request_id']}")).json()["key_id"] == key_id
    (line,) = (await caller.get("/v1/requests")).json()["requests"]
    assert line["key_id"] == key_id
