"""Submits: what is accepted; everything else is refused and stores nothing."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import orjson
import pytest

from core.errors import StoreTimeout, StoreUnavailable
from core.jobs.job import JobState
from core.money import MicroUsd
from core.observability.events import JobAdmitted, RequestServed
from core.quotas import CallRate
from core.store.model_catalogue import CatalogueSnapshot
from core.tenants.api_keys import Credential, Scope, build_api_key
from core.tenants.limits import Priority
from core.transactions.admission import Admission, AdmissionResult
from service.context import LinkPolicy
from service.parsing.json_body import BodyLimits
from tests.support.app import KLING, KLING_INPUT, KLING_PATH, POLICY, AppHarness
from tests.support.memory_store.jobs import MemoryJobStore

JSON = {"content-type": "application/json"}


async def test_a_submit_is_accepted_with_runcomfy_s_four_fields(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    answer = await caller.post(KLING_PATH, json=KLING_INPUT)

    (job,) = app.stores.memory.all_jobs()
    root = f"http://gateway.test/v1/requests/{job.id}"
    assert answer.status_code == 202
    assert answer.json() == {
        "request_id": job.id,
        "status": "in_queue",
        "gateway_status": "in_queue",
        "status_url": f"{root}/status",
        "result_url": f"{root}/result",
        "cancel_url": f"{root}/cancel",
    }
    assert answer.headers["location"] == f"{root}/status"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_the_job_is_what_was_asked_for(app: AppHarness, caller: httpx.AsyncClient) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    await caller.post(
        KLING_PATH,
        params={
            "webhook": "https://hooks.example.com/done?x=1",
            "webhook_intermediate_status": "true",
            "timeout": "600",
            "start_timeout": "60",
            "max_cost": "0.63",
            "priority": "low",
            "reference": "order 7",
        },
        json=KLING_INPUT,
        headers={"traceparent": trace},
    )

    (job,) = app.stores.memory.all_jobs()
    now = app.clock.now()
    assert (job.tenant, job.model_id, job.state) == ("video-team", KLING, JobState.QUEUED)
    assert job.webhook == "https://hooks.example.com/done?x=1"
    assert job.webhook_intermediate
    assert job.start_deadline == now + timedelta(seconds=60)
    assert job.deadline == now + timedelta(seconds=600)
    assert job.next_run_at == now + timedelta(seconds=5)
    assert job.reference == "order 7"
    assert job.priority == Priority.LOW
    assert job.trace == trace
    assert job.estimate == MicroUsd(630_000)
    assert job.fingerprint.startswith("1:")
    assert app.events_of(JobAdmitted) == [
        JobAdmitted(job.id, job.tenant, KLING, job.estimate, job.trace)
    ]


async def test_the_body_is_kept_byte_for_byte_and_the_worker_is_rung(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    body = (
        b' {"prompt":"\\u00e9 caf\xc3\xa9",\n "start_image_url":"https://a.example.com/x",'
        b' "duration":5.0}\n'
    )

    answer = await caller.post(KLING_PATH, content=body, headers=JSON)

    job_id = answer.json()["request_id"]
    assert app.stores.memory.jobs[job_id].input == body
    assert list(app.stores.memory.wake_queue) == [f"{job_id}:0"]


async def test_deadlines_are_the_model_s_own_where_it_has_some(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    app.list_models({"model_id": "slow/model"})
    await caller.post("/v1/models/slow/model", json={})

    (job,) = app.stores.memory.all_jobs()
    assert job.deadline == app.clock.now() + timedelta(hours=6)
    assert job.start_deadline == app.clock.now() + timedelta(hours=1)


async def test_a_start_later_than_the_end_is_the_end(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    await caller.post(KLING_PATH, params={"timeout": "60", "start_timeout": "90"}, json=KLING_INPUT)

    (job,) = app.stores.memory.all_jobs()
    assert job.start_deadline == job.deadline


async def test_links_begin_with_the_public_url_where_there_is_one(
    app: AppHarness, key: str
) -> None:
    app.replace_resources(policy=replace(POLICY, links=LinkPolicy("https://gateway.example")))
    async with app.client(key) as caller:
        answer = await caller.post(KLING_PATH, json=KLING_INPUT)
    assert answer.json()["status_url"].startswith("https://gateway.example/v1/requests/")


async def test_no_content_type_counts_as_json(caller: httpx.AsyncClient) -> None:
    answer = await caller.post(KLING_PATH, content=orjson.dumps(KLING_INPUT))
    assert answer.status_code == 202


def _with(**changes: Any) -> bytes:  # noqa: ANN401 - any JSON
    return orjson.dumps({**KLING_INPUT, **changes})


NESTED = b'{"prompt":' + b"[" * 200 + b"]" * 200 + b"}"
ABYSS = b'{"prompt":' + b"[" * 2000 + b"]" * 2000 + b"}"

BAD_BODIES: list[tuple[str, bytes, int, str, str | None]] = [
    ("empty", b"", 400, "malformed_request", None),
    ("no json", b"prompt=hello", 400, "malformed_request", None),
    ("cut short", b'{"prompt": "x', 400, "malformed_request", None),
    ("not utf-8", b'{"prompt": "\xff"}', 400, "malformed_request", None),
    ("lone surrogate", b'{"prompt": "\\ud800"}', 400, "malformed_request", None),
    ("not a number", b'{"duration": NaN}', 400, "malformed_request", None),
    ("a list", b"[]", 400, "malformed_request", None),
    ("null", b"null", 400, "malformed_request", None),
    ("abyss", ABYSS, 400, "malformed_request", None),
    ("nested deeply", NESTED, 422, "invalid_input", ""),
    ("twins", _with()[:-1] + b',"duration":15}', 400, "malformed_request", None),
    ("too large", _with(prompt="x" * 5000), 413, "body_too_large", None),
    ("duration 2", _with(duration=2), 422, "invalid_input", "/duration"),
    ("duration 16", _with(duration=16), 422, "invalid_input", "/duration"),
    ("wrong type", _with(prompt=7), 422, "invalid_input", "/prompt"),
    ("unknown field", _with(promt="x"), 422, "invalid_input", "/promt"),
    ("missing field", b'{"prompt": "x"}', 422, "invalid_input", "/start_image_url"),
    (
        "http image",
        _with(start_image_url="http://a.example.com/x.png"),
        422,
        "invalid_input",
        "/start_image_url",
    ),
    (
        "metadata image",
        _with(start_image_url="http://169.254.169.254/"),
        422,
        "invalid_input",
        "/start_image_url",
    ),
]


async def test_valid_json_that_is_too_deep_is_not_called_invalid(caller: httpx.AsyncClient) -> None:
    answer = await caller.post(KLING_PATH, content=ABYSS, headers=JSON)
    assert answer.json()["detail"] == "The body is nested too deeply."


@pytest.mark.parametrize(
    ("body", "status", "code", "path"),
    [row[1:] for row in BAD_BODIES],
    ids=[row[0] for row in BAD_BODIES],
)
async def test_a_bad_body_is_a_clear_problem_and_nothing_is_stored(
    app: AppHarness,
    caller: httpx.AsyncClient,
    body: bytes,
    status: int,
    code: str,
    path: str | None,
) -> None:
    answer = await caller.post(KLING_PATH, content=body, headers=JSON)

    problem = answer.json()
    assert (answer.status_code, problem["code"], problem["status"]) == (status, code, status)
    assert answer.headers["content-type"] == "application/problem+json"
    assert (problem["billed"], problem["retryable"]) == ("no", False)
    assert "request_id" not in problem
    if path is not None:
        assert [error["path"] for error in problem["errors"]] == [path]
    assert app.stores.memory.all_jobs() == []
    assert app.stores.memory.wake_queue == {}


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ("max_cots=1", "?max_cots"),
        ("priority=urgent", "?priority"),
        ("priority=", "?priority"),
        ("cache=no", "?cache"),
        ("cache=OFF", "?cache"),
        ("cache=", "?cache"),
        ("dry_run=maybe", "?dry_run"),
        ("dry_run=", "?dry_run"),
        ("timeout=0", "?timeout"),
        ("timeout=-1", "?timeout"),
        ("timeout=1.5", "?timeout"),
        ("timeout=86401", "?timeout"),
        ("timeout=99999999999999999999999", "?timeout"),
        ("timeout=%D9%A3", "?timeout"),
        ("start_timeout=soon", "?start_timeout"),
        ("max_cost=-1", "?max_cost"),
        ("max_cost=1e3", "?max_cost"),
        ("max_cost=nan", "?max_cost"),
        ("max_cost=1e999999999", "?max_cost"),
        ("webhook_intermediate_status=maybe", "?webhook_intermediate_status"),
        ("webhook=http://hooks.example.com/", "?webhook"),
        ("webhook=https://169.254.169.254/", "?webhook"),
        ("webhook=", "?webhook"),
        ("reference=", "?reference"),
        ("reference=" + "x" * 257, "?reference"),
        ("reference=a%0Ab", "?reference"),
    ],
)
async def test_a_wrong_option_is_named(
    app: AppHarness, caller: httpx.AsyncClient, query: str, path: str
) -> None:
    answer = await caller.post(f"{KLING_PATH}?{query}", json=KLING_INPUT)

    assert answer.status_code == 400
    assert [error["path"] for error in answer.json()["errors"]] == [path]
    assert app.stores.memory.all_jobs() == []


@pytest.mark.parametrize(
    "query", ["timeout=5&timeout=6", "reference=%FF", "&".join(f"a{n}=1" for n in range(100))]
)
async def test_an_unreadable_query_is_refused(
    app: AppHarness, caller: httpx.AsyncClient, query: str
) -> None:
    answer = await caller.post(f"{KLING_PATH}?{query}", json=KLING_INPUT)
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_request")
    assert app.stores.memory.all_jobs() == []


async def test_a_typo_is_answered_with_the_likely_word(caller: httpx.AsyncClient) -> None:
    answer = await caller.post(f"{KLING_PATH}?max_cots=1", json=KLING_INPUT)
    assert answer.json()["errors"][0]["message"] == "is not an option; did you mean max_cost?"


async def test_a_cost_above_the_limit_is_refused(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    answer = await caller.post(f"{KLING_PATH}?max_cost=0.629999", json=KLING_INPUT)
    assert (answer.status_code, answer.json()["code"]) == (402, "cost_above_limit")
    assert "0.63" in answer.json()["detail"]
    assert app.stores.memory.all_jobs() == []


async def test_a_limit_on_an_unknown_price_is_refused(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    app.list_models({"model_id": "some/model"})
    answer = await caller.post("/v1/models/some/model?max_cost=100", json={})
    assert (answer.status_code, answer.json()["code"]) == (402, "cost_above_limit")
    assert "not known" in answer.json()["detail"]


@pytest.mark.parametrize(
    "kind",
    [
        *(None, "", "text/plain", "text/plain; charset=utf-8", "application/octet-stream"),
        *("application/x-www-form-urlencoded", "Application/JSON", "odd", "application/vnd.x+json"),
    ],
)
async def test_a_body_is_json_whatever_its_content_type(
    caller: httpx.AsyncClient, kind: str | None
) -> None:
    headers = {} if kind is None else {"content-type": kind}
    answer = await caller.post(KLING_PATH, content=orjson.dumps(KLING_INPUT), headers=headers)
    assert answer.status_code == 202


async def test_a_body_that_is_encoded_is_415(app: AppHarness, caller: httpx.AsyncClient) -> None:
    headers = JSON | {"content-encoding": "br"}
    answer = await caller.post(KLING_PATH, content=orjson.dumps(KLING_INPUT), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")
    assert app.stores.memory.all_jobs() == []


async def test_a_broken_idempotency_key_is_not_silently_ignored(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    answer = await caller.post(KLING_PATH, json=KLING_INPUT, headers={"idempotency-key": '"a'})
    assert answer.status_code == 400
    assert app.stores.memory.all_jobs() == []


@pytest.mark.parametrize("model_id", ["a%09b", "a//b", "../secret", "\u2028"])
async def test_what_is_no_model_id_is_400(caller: httpx.AsyncClient, model_id: str) -> None:
    answer = await caller.post(f"/v1/models/{model_id.replace('/', '%2F')}", json={})
    assert answer.status_code in {400, 404}


@pytest.mark.parametrize("was_synced", [True, False])
async def test_a_model_that_is_not_listed_is_404_and_asks_for_a_sync(
    app: AppHarness, caller: httpx.AsyncClient, *, was_synced: bool
) -> None:
    if was_synced:
        app.list_models({"model_id": "some/modem"})

    answer = await caller.post("/v1/models/some/model", json={})

    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_model")
    assert ("Did you mean some/modem?" in answer.json()["detail"]) is was_synced
    assert await app.stores.catalogue.is_sync_requested()


async def test_without_a_live_key_nothing_is_asked_for(app: AppHarness) -> None:
    await app.tenant()
    async with app.client(build_api_key("video-team", bytes(32))) as nobody:
        answer = await nobody.post("/v1/models/some/model", json={})
    assert answer.status_code == 401
    assert not await app.stores.catalogue.is_sync_requested()


async def test_a_model_that_was_synced_a_moment_ago_is_known_at_once(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    document = orjson.dumps({"model_id": "some/model"})
    await app.stores.catalogue.replace(CatalogueSnapshot(app.clock.now(), {"some/model": document}))
    assert (await caller.post("/v1/models/some/model", json={})).status_code == 202
    assert not await app.stores.catalogue.is_sync_requested()


async def test_an_unlisted_model_is_forwarded_where_the_operator_says_so(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    app.forward_unlisted_models()
    answer = await caller.post("/v1/models/some/model", json={"anything": 1})
    assert answer.status_code == 202
    assert app.stores.memory.all_jobs()[0].estimate is None


@pytest.mark.parametrize(
    ("path", "model_id"),
    [
        ("minimax/Hailuo%20Video%2001%20Live", "minimax/Hailuo Video 01 Live"),
        ("minimax/Hailuo+Video+01+Live", "minimax/Hailuo Video 01 Live"),
        ("minimax/Hailuo%20Video%2001%20Live/", "minimax/Hailuo Video 01 Live"),
        ("minimax%2FHailuo%20Video%2001%20Live", "minimax/Hailuo Video 01 Live"),
        ("kling/kling-video-o3/4K/image-to-video", "kling/kling-video-o3/4K/image-to-video"),
        ("bytedance/seedance-2.5/x", "bytedance/seedance-2.5/x"),
        ("a+b", "a+b"),
        ("%C3%A9", "é"),
    ],
)
async def test_any_id_that_runcomfy_lists_works(
    app: AppHarness, caller: httpx.AsyncClient, path: str, model_id: str
) -> None:
    app.list_models({"model_id": model_id, "base_price_usd": 0.5, "price_unit": "output"})
    shown = await caller.get(f"/v1/models/{path}")
    assert shown.json()["model_id"] == model_id
    answer = await caller.post(f"/v1/models/{path}", json={"prompt": "x"})
    (job,) = app.stores.memory.all_jobs()
    assert (answer.status_code, job.model_id, job.estimate) == (202, model_id, 500_000)
    listed = await caller.get("/v1/requests", params={"model_id": model_id})
    assert [row["request_id"] for row in listed.json()["requests"]] == [job.id]
    usage = (await caller.get("/v1/usage")).json()
    assert set(usage["windows"][0]["models"]) == {model_id}


# --- keys


class CountingJobStore(MemoryJobStore):
    """Counts its reads and writes."""

    calls = 0

    async def authenticate(
        self,
        credential: Credential,
        scope: Scope | None = None,
        rate: CallRate | None = CallRate.CALLS,
    ) -> None:
        self.calls += 1
        await super().authenticate(credential, scope, rate=rate)

    async def admit(self, admission: Admission) -> AdmissionResult:
        self.calls += 1
        return await super().admit(admission)


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer ", "Bearer nonsense", "Basic dTpw", "Bearer rcg_a_b"],
)
async def test_without_a_possible_key_the_store_is_not_asked(
    app: AppHarness, authorization: str | None
) -> None:
    watched = CountingJobStore(app.stores.memory)
    app.replace_stores(jobs=watched)
    headers = {} if authorization is None else {"authorization": authorization}
    async with app.client() as caller:
        answer = await caller.post(KLING_PATH, json=KLING_INPUT, headers=headers)

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert watched.calls == 0


async def test_of_two_authorization_fields_the_first_was_believed(
    app: AppHarness, key: str
) -> None:
    fields = [("authorization", f"Bearer {key}"), ("authorization", "Bearer another")]
    async with app.client() as caller:
        answer = await caller.post(KLING_PATH, json=KLING_INPUT, headers=fields)
    assert answer.status_code == 401


async def test_a_submit_asks_the_store_once(app: AppHarness, key: str) -> None:
    watched = CountingJobStore(app.stores.memory)
    app.replace_stores(jobs=watched)
    async with app.client(key) as caller:
        await caller.post(KLING_PATH, json=KLING_INPUT)
    assert watched.calls == 1


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (KLING_PATH, b"not json"),
        (KLING_PATH, b'{"duration": 2}'),
        (f"{KLING_PATH}?nonsense=1", b"{}"),
        (KLING_PATH, b"x" * 10_000),
        ("/v1/models/no/such/model", b"{}"),
    ],
)
async def test_a_wrong_key_learns_nothing_of_what_else_is_wrong(
    app: AppHarness, path: str, body: bytes
) -> None:
    await app.tenant()
    async with app.client(build_api_key("video-team", b"w" * 32)) as stranger:
        answer = await stranger.post(path, content=body, headers=JSON)

    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert app.events_of(RequestServed)[-1].tenant is None


async def test_a_key_without_the_scope_is_403(app: AppHarness) -> None:
    reader = await app.tenant("readers", scopes=frozenset({Scope.READ}))
    async with app.client(reader) as caller:
        assert (await caller.post(KLING_PATH, json=KLING_INPUT)).status_code == 403
        assert (await caller.post(KLING_PATH, json={})).status_code == 403
    assert app.stores.memory.all_jobs() == []


# --- a store that is away


class UnavailableJobStore(MemoryJobStore):
    """Raises `StoreUnavailable` in every call."""

    error: StoreUnavailable = StoreUnavailable(retry_after=timedelta(seconds=2))

    async def admit(self, admission: Admission) -> AdmissionResult:
        assert admission.job.id
        raise self.error


async def test_a_store_that_is_away_is_503_and_surely_nothing_was_taken(
    app: AppHarness, key: str
) -> None:
    app.replace_stores(jobs=UnavailableJobStore(app.stores.memory))
    async with app.client(key) as caller:
        answer = await caller.post(KLING_PATH, json=KLING_INPUT)

    problem = answer.json()
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert (problem["code"], problem["retryable"]) == ("store_unavailable", True)
    assert problem["billed"] == "no"
    assert "request_id" not in problem


@pytest.mark.parametrize("has_key", [True, False])
async def test_a_store_that_fell_silent_leaves_it_open_and_names_the_job(
    app: AppHarness, key: str, *, has_key: bool
) -> None:
    silent = UnavailableJobStore(app.stores.memory)
    silent.error = StoreTimeout()
    app.replace_stores(jobs=silent)
    headers = {"Idempotency-Key": "one"} if has_key else {}
    async with app.client(key) as caller:
        answer = await caller.post(KLING_PATH, json=KLING_INPUT, headers=headers)

    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (503, "acceptance_unclear")
    # A client that repeats after `Retry-After` must not pay twice.
    assert ("retry-after" in answer.headers, problem["retryable"]) == (has_key, has_key)
    assert ("Repeat it with the same Idempotency-Key" in problem["detail"]) is has_key
    assert problem["billed"] == "unknown"
    assert f"/v1/requests/{problem['request_id']} " in problem["detail"]


# --- bodies in pieces


async def _pieces(count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield b"x" * 1000


async def test_a_body_without_a_length_is_stopped_while_it_is_read(
    caller: httpx.AsyncClient,
) -> None:
    answer = await caller.post(KLING_PATH, content=_pieces(10), headers=JSON)
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


async def test_a_length_that_lies_low_does_not_let_more_in(caller: httpx.AsyncClient) -> None:
    answer = await caller.post(
        KLING_PATH, content=_pieces(10), headers={**JSON, "content-length": "10"}
    )
    assert answer.status_code == 413


@pytest.mark.parametrize("length", ["", "nonsense", "-1", "9" * 30])
async def test_an_odd_length_does_no_harm(caller: httpx.AsyncClient, length: str) -> None:
    answer = await caller.post(
        KLING_PATH, content=_pieces(1), headers={**JSON, "content-length": length}
    )
    assert answer.status_code in {400, 413}


async def _never_ends() -> AsyncIterator[bytes]:
    yield b"{"
    await asyncio.Event().wait()


async def test_a_body_that_does_not_arrive_is_408(app: AppHarness, key: str) -> None:
    app.replace_resources(
        policy=replace(POLICY, body_limits=BodyLimits(4096, timedelta(milliseconds=1)))
    )
    async with app.client(key) as caller:
        answer = await caller.post(KLING_PATH, content=_never_ends(), headers=JSON)
    assert (answer.status_code, answer.json()["code"]) == (408, "body_too_slow")
