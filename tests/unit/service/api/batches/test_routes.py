"""Batches over HTTP: validation, responses, completion."""

from dataclasses import replace
from typing import Any, Final

import httpx
import orjson
import pytest

from core.batches import MAX_BATCH_ITEMS, BatchSnapshot
from core.errors import GatewayError, NotFound, StoreTimeout, StoreUnavailable
from core.jobs.job import JobState, Trigger
from core.money import MicroUsd
from core.observability.events import BatchAdmitted, JobAdmitted, OperationalWarning
from core.store.codecs import DELIVERY_CODEC
from core.tenants.api_keys import Scope
from core.tenants.limits import Limits
from core.transactions.admission import BatchAdmission, BatchAdmissionResult
from core.transactions.job_update import Change, WriteResult
from service.errors import SubmitsStopped
from service.parsing.json_body import BodyLimits
from tests.support.app import KLING, KLING_INPUT, AppHarness
from worker.batches.completion import LEASE, BatchCompleter
from worker.scheduling.step_failures import MAX_STEP_FAILURES

URL: Final = "/v1/batches"
UNKNOWN: Final = "bat_01KAP7ZJ5V9GQH6MTB2X0C4E8R"


def item(number: int = 0, /, **changes: object) -> dict[str, Any]:
    """An item with a distinct input."""
    own = {**KLING_INPUT, "prompt": f"Shot {number}."}
    return {"model_id": KLING, "input": own, "reference": f"shot-{number}", **changes}


def batch(*items: object, **fields: object) -> dict[str, Any]:
    return {"items": list(items), **fields}


async def post_batch(caller: httpx.AsyncClient, *items: object, **fields: object) -> dict[str, Any]:
    answer = await caller.post(URL, json=batch(*items, **fields))
    assert answer.status_code == 202, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def end_all(app: AppHarness) -> None:
    for job in app.stores.memory.all_jobs():
        if not job.is_final:
            now = app.clock.now()
            after = job.transition(Trigger.CANCEL_REQUESTED, now, next_run_at=None, finished_at=now)
            assert await app.stores.jobs.store(Change(job, after)) is WriteResult.STORED


def counted(**found: int) -> dict[str, int]:
    names = ("in_queue", "in_progress", "completed", "failed", "cancelled", "refused")
    admitted = sum(found.values())
    return {"total": admitted} | dict.fromkeys(names, 0) | found


async def test_a_batch_is_taken_in_and_read(app: AppHarness, caller: httpx.AsyncClient) -> None:
    answer = await caller.post(URL, json=batch(item(0), item(1), reference="films"))
    document = answer.json()
    assert answer.status_code == 202
    assert answer.headers["location"] == document["batch_url"]
    assert (document["status"], document["reference"]) == ("in_progress", "films")
    assert document["counts"] == counted(in_queue=2)
    assert [(one["index"], one["status"], one["reference"]) for one in document["items"]] == [
        (0, "in_queue", "shot-0"),
        (1, "in_queue", "shot-1"),
    ]
    assert (await caller.get(document["batch_url"])).json() == document
    job = await caller.get(f"/v1/requests/{document['items'][1]['request_id']}")
    assert job.json()["reference"] == "shot-1"
    assert app.events_of(BatchAdmitted)[0].size == 2
    assert len(app.events_of(JobAdmitted)) == 2


async def test_inputs_are_kept_byte_for_byte(app: AppHarness, caller: httpx.AsyncClient) -> None:
    app.list_models({"model_id": "flux/any"})
    raw = (
        b'{ "prompt" : "a \\u0041}\\"]" ,"start_image_url":"https://e.example/\xc3\xa9.png",\n'
        b'"duration" : 5.0,"seed":9007199254740993 }'
    )
    body = b'{"items" : [ {"input" :' + raw + b' ,"model_id":"flux/any"} ] , "admit":"fit"}'
    answer = await caller.post(URL, content=body)
    assert answer.status_code == 202
    job_id = answer.json()["items"][0]["request_id"]
    assert await app.stores.jobs.load_input(job_id) == raw


async def test_options_have_the_names_and_rules_of_a_submit(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    await post_batch(
        caller, item(priority="low", timeout=60.0, max_cost=5.5, webhook_intermediate_status=True)
    )
    (job,) = app.stores.memory.all_jobs()
    assert (job.priority, job.webhook_intermediate) == (2, True)
    assert job.deadline is not None
    assert (job.deadline - job.created_at).total_seconds() == 60


WRONG_BODIES: Final = {
    "no object": b"[]",
    "no json": b'{"items": [}',
    "no items": b"{}",
    "empty": b'{"items": []}',
    "no list": b'{"items": {}}',
    "an unknown field": b'{"items": [{}], "dry_run": true}',
    "an unknown word": b'{"items": [{}], "admit": "some"}',
    "no word": b'{"items": [{}], "admit": ["all"]}',
    "no reference": b'{"items": [{}], "reference": ""}',
    "no address": b'{"items": [{}], "webhook": "http://127.0.0.1/"}',
    "a list for an option": b'{"items": [{}], "reference": []}',
    "a field twice": b'{"items": [{}], "items": [{}]}',
    "too many": orjson.dumps({"items": [{}] * (MAX_BATCH_ITEMS + 1)}),
}


@pytest.mark.parametrize("body", WRONG_BODIES.values(), ids=WRONG_BODIES)
async def test_a_body_that_is_no_batch_is_refused(caller: httpx.AsyncClient, body: bytes) -> None:
    answer = await caller.post(URL, content=body)
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_request")


async def test_a_deep_body_is_refused(caller: httpx.AsyncClient) -> None:
    deep = b"[" * 1010 + b"]" * 1010
    answer = await caller.post(URL, content=b'{"items": [{"input": ' + deep + b"}]}")
    assert answer.status_code in {400, 422}


WRONG_ITEMS: Final[dict[str, tuple[Any, str]]] = {
    "no object": (7, ""),
    "no model": ({"input": {}}, "/model_id"),
    "no input": ({"model_id": KLING}, "/input"),
    "an input that is none": ({"model_id": KLING, "input": "x"}, "/input"),
    "an unknown option": (item(max_cots=1), "/max_cots"),
    "a wrong option": (item(max_cost="much"), "/max_cost"),
    "no dry runs": (item(dry_run=True), "/dry_run"),
    "a list for an option": (item(timeout=[]), "/timeout"),
    "a number for a text": (item(reference=7), "/reference"),
    "a text for a number": (item(timeout="60"), "/timeout"),
    "a number for a boolean": (item(webhook_intermediate_status=1), "/webhook_intermediate_status"),
    "a boolean for a number": (item(max_cost=True), "/max_cost"),
    "too dear": (item(max_cost=0.01), "/max_cost"),
    "an input that does not fit": (item(input={**KLING_INPUT, "duration": 99}), "/input/duration"),
}


@pytest.mark.parametrize(("wrong", "path"), WRONG_ITEMS.values(), ids=WRONG_ITEMS)
async def test_a_wrong_item_refuses_the_whole(
    app: AppHarness, caller: httpx.AsyncClient, wrong: object, path: str
) -> None:
    answer = await caller.post(URL, json=batch(item(0), wrong))
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
    assert [error["path"] for error in answer.json()["errors"]] == [f"/items/1{path}"]
    assert app.stores.memory.jobs == {}


@pytest.mark.parametrize(("wrong", "path"), WRONG_ITEMS.values(), ids=WRONG_ITEMS)
async def test_where_it_may_fit_a_wrong_item_is_told_alone(
    caller: httpx.AsyncClient, wrong: object, path: str
) -> None:
    document = await post_batch(caller, wrong, item(0), admit="fit")
    assert document["counts"] == counted(refused=1, in_queue=1)
    first, second = document["items"]
    assert first["error"]["status"] in {402, 422}
    assert first["error"].get("errors", [{"path": path}])[0]["path"] == path
    assert second["status"] == "in_queue"
    assert (await caller.get(document["batch_url"])).json() == document


async def test_a_field_twice_in_an_item_is_its_fault(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    app.list_models({"model_id": "flux/any"})
    good = orjson.dumps(item(0))
    for twice in (
        b'{"model_id": "a", "model_id": "b", "input": {}}',
        b'{"model_id": "flux/any", "input": {"a": 1, "a": 2}}',
    ):
        body = b'{"admit": "fit", "items": [' + twice + b"," + good + b"]}"
        first, second = (await caller.post(URL, content=body)).json()["items"]
        assert first["error"]["code"] == "malformed_request"
        assert second["status"] == "in_queue"


async def test_of_items_that_are_all_wrong_there_is_no_batch(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    answer = await caller.post(URL, json=batch({}, {}, admit="fit"))
    assert answer.status_code == 422
    assert app.stores.memory.batches == {}


async def test_an_input_has_the_bound_of_a_submit(caller: httpx.AsyncClient) -> None:
    long = {**KLING_INPUT, "prompt": "x" * 5000}
    document = await post_batch(caller, item(0), item(input=long), admit="fit")
    assert document["items"][1]["error"]["code"] == "body_too_large"


async def test_the_whole_has_a_bound_of_its_own(app: AppHarness, caller: httpx.AsyncClient) -> None:
    small = BodyLimits(100, app.resources.policy.batch_body_limits.timeout)
    app.replace_resources(policy=replace(app.resources.policy, batch_body_limits=small))
    assert (await caller.post(URL, json=batch(item(0)))).status_code == 413


LIMITED: Final = {
    "a count": (Limits(jobs_per_day=2), 429, "limit_reached", "jobs-per-day"),
    "a budget": (Limits(usd_per_day=MicroUsd(900_000)), 402, "budget_reached", "usd-per-day"),
    "models": (Limits(models=("flux/*",)), 403, "model_not_allowed", "models"),
}


@pytest.mark.parametrize(("limits", "status", "code", "policy"), LIMITED.values(), ids=LIMITED)
async def test_a_limit_refuses_the_whole(
    app: AppHarness, limits: Limits, status: int, code: str, policy: str
) -> None:
    key = await app.tenant(limits=limits)
    async with app.client(key) as caller:
        answer = await caller.post(URL, json=batch(*map(item, range(3))))
        problem = answer.json()
        assert (answer.status_code, problem["code"]) == (status, code)
        assert problem["errors"][-1]["path"] == "/items/2"
        assert problem["violated-policies"] == [policy]
        assert ("retry-after" in answer.headers) == (status != 403)
    assert app.stores.memory.jobs == {}


async def test_what_fits_the_limits_is_taken_in(app: AppHarness) -> None:
    key = await app.tenant(limits=Limits(jobs_per_day=2))
    async with app.client(key) as caller:
        document = await post_batch(caller, *map(item, range(3)), admit="fit")
        assert document["counts"] == counted(in_queue=2, refused=1)
        error = document["items"][2]["error"]
        assert (error["code"], error["violated-policies"]) == ("limit_reached", ["jobs-per-day"])
        assert error["retry_after"] > 0
        await end_all(app)
        again = await caller.post(URL, json=batch(item(9), admit="fit"))
        assert again.status_code == 429


async def test_a_batch_tells_how_the_limits_stand_after_it(app: AppHarness) -> None:
    key = await app.tenant(limits=Limits(jobs_per_day=3))
    async with app.client(key) as caller:
        answer = await caller.post(URL, json=batch(*map(item, range(2))))
        assert answer.status_code == 202
        assert answer.headers["ratelimit-policy"] == '"jobs-per-day";q=3;w=86400'
        assert answer.headers["ratelimit"].startswith('"jobs-per-day";r=1;t=')
        answer = await caller.post(URL, json=batch(*map(item, range(3, 6)), admit="fit"))
        assert answer.headers["ratelimit"].startswith('"jobs-per-day";r=0;t=')


async def test_identical_items_join_the_first(app: AppHarness, caller: httpx.AsyncClient) -> None:
    document = await post_batch(caller, *[item(1, cache="use")] * 50)
    assert [one["gateway_cache"] for one in document["items"]] == ["miss"] + ["joined"] * 49
    states = [job.state for job in app.stores.memory.all_jobs()]
    assert states.count(JobState.QUEUED) == 1


async def test_a_page_of_items(caller: httpx.AsyncClient) -> None:
    document = await post_batch(caller, *map(item, range(5)))
    page = await caller.get(f"{document['batch_url']}?offset=3&limit=1")
    assert [one["index"] for one in page.json()["items"]] == [3]
    for query in ("offset=-1", "limit=0", "limit=1001", "limit=x", "page=1"):
        answer = await caller.get(f"{document['batch_url']}?{query}")
        assert answer.status_code == 400


async def test_batches_are_listed(app: AppHarness, caller: httpx.AsyncClient) -> None:
    made = []
    for number in range(3):
        made.append((await post_batch(caller, item(number)))["batch_id"])
        app.clock.move(app.resources.policy.heartbeat)
    first = (await caller.get(f"{URL}?limit=2")).json()
    assert [one["batch_id"] for one in first["batches"]] == made[:0:-1]
    rest = (await caller.get(f"{URL}?limit=2&cursor={first['next_cursor']}")).json()
    assert [one["batch_id"] for one in rest["batches"]] == made[:1]
    assert "next_cursor" not in rest
    for query in ("limit=0", "cursor=x", "offset=1"):
        assert (await caller.get(f"{URL}?{query}")).status_code == 400


async def test_the_rest_is_cancelled(app: AppHarness, caller: httpx.AsyncClient) -> None:
    document = await post_batch(caller, *[item(1, cache="use")] * 3, item(2), item(3))
    first = app.stores.memory.all_jobs()[3]
    now = app.clock.now()
    claimed = first.transition(Trigger.CLAIMED, now, next_run_at=now)
    assert await app.stores.jobs.store(Change(first, claimed)) is WriteResult.STORED
    answer = await caller.post(document["cancel_url"])
    cancelled = answer.json()
    assert answer.status_code == 200
    assert cancelled["outcomes"] == {"requested": 1, "cancelled": 4, "not_cancellable": 0}
    assert [one["outcome"] for one in cancelled["items"]] == [
        *["cancelled"] * 3,
        "requested",
        "cancelled",
    ]
    assert cancelled["counts"] == counted(in_queue=1, cancelled=4)
    again = (await caller.post(document["cancel_url"])).json()
    assert again["outcomes"] == {"requested": 1, "cancelled": 0, "not_cancellable": 0}


async def test_another_tenant_knows_of_nothing(app: AppHarness, caller: httpx.AsyncClient) -> None:
    document = await post_batch(caller, item(0))
    async with app.client(await app.tenant("others")) as other:
        for path in (document["batch_url"], f"{URL}/{UNKNOWN}", f"{URL}/x"):
            assert (await other.get(path)).status_code == 404
            assert (await other.post(f"{path}/cancel")).status_code == 404
        assert (await other.get(URL)).json() == {"batches": []}


async def test_each_call_needs_its_scope(app: AppHarness) -> None:
    async with app.client(await app.tenant(scopes=frozenset({Scope.READ}))) as reader:
        assert (await reader.post(URL, json=batch(item(0)))).status_code == 403
        assert (await reader.post(URL, json={})).status_code == 403
        assert (await reader.post(f"{URL}/{UNKNOWN}/cancel")).status_code == 403
        assert (await reader.get(URL)).status_code == 200
    async with app.client() as stranger:
        assert (await stranger.post(URL, json={})).status_code == 401


async def test_a_key_is_answered_with_the_batch_as_it_stands(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    key = {"idempotency-key": '"one"'}
    body = batch(item(0), {}, item(1), admit="fit")
    first = await caller.post(URL, json=body, headers=key)
    second = await caller.post(URL, json=body, headers=key)
    assert "idempotency-replayed" not in first.headers
    assert (second.status_code, second.headers["idempotency-replayed"]) == (202, "true")
    assert second.json() == first.json()
    await end_all(app)
    third = await caller.post(URL, json=body, headers=key)
    assert (third.status_code, third.json()["counts"]["cancelled"]) == (200, 2)
    for other in (
        batch(item(1), {}, item(0), admit="fit"),
        batch(item(0), {"input": {}}, item(1), admit="fit"),
        batch(item(0), item(1)),
    ):
        assert (await caller.post(URL, json=other, headers=key)).status_code == 422
    assert len(app.events_of(BatchAdmitted)) == 1


async def test_a_repeated_batch_is_answered_although_it_would_be_refused_now(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    app.list_models({"model_id": "acme/new"})
    fields = {"model_id": "acme/new", "input": {"a": 1}}
    key = {"idempotency-key": '"one"'}
    first = await caller.post(URL, json=batch(fields), headers=key)
    app.list_models()  # RunComfy lists it no more
    again = await caller.post(URL, json=batch(fields), headers=key)
    assert (again.status_code, again.headers["idempotency-replayed"]) == (202, "true")
    assert again.json() == first.json()
    other = await caller.post(URL, json=batch(fields), headers={"idempotency-key": '"two"'})
    assert other.status_code == 422
    assert other.json()["errors"][0]["path"] == "/items/0/model_id"
    changed = await caller.post(URL, json=batch({**fields, "input": {}}), headers=key)
    assert (changed.status_code, changed.json()["code"]) == (422, "idempotency_key_reused")
    assert len(app.stores.memory.all_jobs()) == 1


async def test_a_repeated_batch_is_answered_while_submits_are_stopped(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    key = {"idempotency-key": '"one"'}
    first = await caller.post(URL, json=batch(item(0)), headers=key)

    class Stopped:
        async def check(self) -> None:
            raise SubmitsStopped("No worker runs.")

    app.replace_resources(submit_availability=Stopped())
    assert (await caller.post(URL, json=batch(item(1)))).status_code == 503
    again = await caller.post(URL, json=batch(item(0)), headers=key)
    assert again.json()["batch_id"] == first.json()["batch_id"]


async def test_a_silent_store_leaves_it_open(app: AppHarness, caller: httpx.AsyncClient) -> None:
    class Silent:
        async def admit(self, _: object) -> None:
            raise StoreTimeout

    app.replace_stores(batches=Silent())
    answer = await caller.post(URL, json=batch(item(0)))
    assert (answer.status_code, answer.json()["code"]) == (503, "acceptance_unclear")
    assert "/v1/batches/bat_" in answer.json()["detail"]


@pytest.mark.parametrize("error", [NotFound, StoreUnavailable])
async def test_a_batch_that_was_just_accepted_is_not_answered_as_one_that_never_was(
    app: AppHarness, caller: httpx.AsyncClient, error: type[GatewayError]
) -> None:
    class Forgetful:
        async def admit(self, admission: BatchAdmission) -> BatchAdmissionResult:
            forgotten = admission.batch.id
            return BatchAdmissionResult((), stored=False, existing_batch_id=forgotten)

        async def read(self, *_: object) -> BatchSnapshot:
            raise error

    app.replace_stores(batches=Forgetful())
    answer = await caller.post(URL, json=batch(item()), headers={"idempotency-key": '"one"'})
    assert (answer.status_code, answer.json()["code"]) == (503, "acceptance_unclear")


async def test_the_key_of_a_forgotten_batch_is_not_answered_with_a_new_one(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    key = {"idempotency-key": '"one"'}
    first = await caller.post(URL, json=batch(item()), headers=key)
    del app.stores.memory.batches[first.json()["batch_id"]]
    answer = await caller.post(URL, json=batch(item()), headers=key)
    assert (answer.status_code, answer.json()["code"]) == (410, "request_deleted")
    assert first.json()["batch_id"] in answer.json()["detail"]
    assert len(app.stores.memory.all_jobs()) == 1


async def test_a_batch_whose_completion_raises_stops_no_other_and_ends(app: AppHarness) -> None:
    key = await app.tenant(webhook="https://hooks.example/default")
    async with app.client(key) as caller:
        ids = [(await post_batch(caller, item(n)))["batch_id"] for n in range(2)]
    await end_all(app)
    stores = app.stores.batches
    closer = BatchCompleter(app.stores, app.clock, app.events.append)

    class Raising:
        """The batches' store, which cannot load the first one."""

        def __getattr__(self, name: str) -> object:
            return getattr(stores, name)

        async def load(self, batch_id: str) -> object:
            if batch_id == ids[0]:
                raise ValueError("odd")
            return await stores.load(batch_id)

    closer._batches = Raising()  # type: ignore[assignment]  # passes everything else on
    await closer.run_once()
    assert len(app.stores.memory.deliveries) == 1
    for _ in range(20):
        await app.clock.advance(LEASE)
        await closer.run_once()
    failed = [one for one in app.events_of(OperationalWarning) if ids[0] in one.detail]
    assert len(failed) == MAX_STEP_FAILURES
    assert failed[-1].detail.endswith("it is completed without its event")
    assert len(app.stores.memory.deliveries) == 1


async def test_a_batch_that_cannot_be_written_stops_no_other(app: AppHarness) -> None:
    stores, written = app.stores.batches, []
    closer = BatchCompleter(app.stores, app.clock, app.events.append)

    class Raising:
        """The batches' store, with two batches to write, of which one raises."""

        def __getattr__(self, name: str) -> object:
            return getattr(stores, name)

        async def claim_unwritten(self, limit: int) -> list[str]:
            assert limit > 1
            return ["bat_1", "bat_2"]

        async def write_rest(self, batch_id: str) -> None:
            if batch_id == "bat_1":
                raise ValueError("odd")
            written.append(batch_id)

    closer._batches = Raising()  # type: ignore[assignment]  # passes everything else on
    await closer.run_once()
    assert written == ["bat_2"]
    (warning,) = app.events_of(OperationalWarning)
    assert (warning.code, warning.detail) == (
        "batch_write_failed",
        "bat_1: ValueError: odd; it is tried again",
    )


async def test_the_end_is_told_once_to_the_batchs_own_address(app: AppHarness) -> None:
    key = await app.tenant(webhook="https://hooks.example/default")
    async with app.client(key) as caller:
        await post_batch(caller, item(0), reference="films", webhook="https://own.example/hook")
        await post_batch(caller, item(1))
    closer = BatchCompleter(app.stores, app.clock, app.events.append)
    await closer.run_once()
    assert app.stores.memory.deliveries == {}
    await end_all(app)
    await closer.run_once()
    await closer.run_once()
    told = [DELIVERY_CODEC.decode(row.doc) for row in app.stores.memory.deliveries.values()]
    assert {delivery.event for delivery in told} == {"batch.completed"}
    found = {delivery.url: orjson.loads(delivery.data or "") for delivery in told}
    assert set(found) == {"https://own.example/hook", "https://hooks.example/default"}
    data = found["https://own.example/hook"]
    assert (data["status"], data["reference"]) == ("completed", "films")
    assert data["counts"] == counted(cancelled=1)
    async with app.client(key) as caller:
        items = (await caller.get(data["items_path"])).json()["items"]
    assert [item["status"] for item in items] == ["cancelled"]
