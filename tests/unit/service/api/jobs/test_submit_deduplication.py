"""Repeated submits over HTTP: keys, cache hits, followers, dry runs, and cancels of those."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final, cast

import httpx
import orjson
import pytest

from core.jobs.job import CancelOutcome, Job, JobState
from core.observability.events import CacheLookup, CostSaved, JobAdmitted
from core.retention import RETENTION
from core.tenants.api_keys import Scope
from core.tenants.cache_policy import CacheMode, CacheRule, CacheStatus, TenantCachePolicy
from core.tenants.limits import Limits
from service.jobs.cancel import MAX_CANCEL_WAIT
from tests.support.app import KLING_INPUT, KLING_PATH, AppHarness
from tests.support.clock import run_ready_tasks
from tests.support.coalescing import OUTPUT, CoalescingHarness
from tests.support.store_harness import StoreHarness

TENANT: Final = "video-team"
KEY: Final = {"idempotency-key": '"one"'}
WAIT: Final = {"prefer": "wait=10"}
SEEDED: Final = "acme/seeded"
SEEDED_PATH: Final = f"/v1/models/{SEEDED}"


@pytest.fixture
def coalescing(app: AppHarness) -> CoalescingHarness:
    """Moves the app's jobs on as workers do."""
    stores = app.stores
    clock = cast("Any", app.clock)
    return CoalescingHarness(
        StoreHarness(
            clock,
            stores.jobs,
            stores.tenants,
            stores.admin,
            stores.circuit_breakers,
            stores.usage_history,
            stores.job_index,
            stores.identity,
        )
    )


@pytest.fixture(autouse=True)
def sharing(app: AppHarness) -> None:
    """The operator has results shared."""
    app.share_results()


def _jobs(app: AppHarness) -> list[Job]:
    return app.stores.memory.all_jobs()


async def _post(caller: httpx.AsyncClient, path: str = KLING_PATH, **more: Any) -> httpx.Response:  # noqa: ANN401 - of a request
    return await caller.post(path, **({"json": KLING_INPUT} | more))


async def _set_cache_policy(app: AppHarness, policy: TenantCachePolicy) -> None:
    before = await app.stores.tenants.load(TENANT)
    assert before is not None
    after = replace(before, cache_policy=policy, version=before.version + 1)
    assert await app.stores.tenants.change(before, after)


# --- what an answer says


async def test_the_first_is_a_miss(caller: httpx.AsyncClient) -> None:
    answer = await _post(caller)
    assert (answer.status_code, answer.headers["gateway-cache"]) == (202, "miss")
    assert "idempotency-replayed" not in answer.headers


async def test_a_second_joins_under_its_own_id(app: AppHarness, caller: httpx.AsyncClient) -> None:
    first, second = await _post(caller), await _post(caller)
    assert (second.status_code, second.headers["gateway-cache"]) == (202, "joined")
    assert second.json()["request_id"] != first.json()["request_id"]
    assert second.json()["status"] == "in_queue"
    assert second.headers["location"].endswith(f"{second.json()['request_id']}/status")
    assert [each.result for each in app.events_of(CacheLookup)] == [
        CacheStatus.MISS,
        CacheStatus.COLLAPSED,
    ]
    assert app.events_of(JobAdmitted)[1].estimate is None


async def test_a_hit_is_200_with_the_result_at_once(
    app: AppHarness, caller: httpx.AsyncClient, coalescing: CoalescingHarness
) -> None:
    await _post(caller)
    (paid,) = _jobs(app)
    await coalescing.finish(paid)
    answer = await _post(caller)
    document = answer.json()
    assert (answer.status_code, answer.headers["gateway-cache"]) == (200, "hit")
    assert (document["status"], document["output"]) == ("succeeded", orjson.loads(OUTPUT))
    assert document["gateway_status"] == "completed"
    assert document["request_id"] != paid.id
    for call in ("status", "result", "cancel"):
        assert document[f"{call}_url"].endswith(f"/{document['request_id']}/{call}")
    assert answer.headers["location"].endswith(f"{document['request_id']}/status")
    assert app.events_of(CostSaved)[0].amount == 1_000_000
    read = await caller.get(f"/v1/requests/{document['request_id']}/result")
    assert read.json()["output"] == document["output"]


@pytest.mark.parametrize(
    ("input_", "found"),
    [
        ({**KLING_INPUT, "duration": 5.0}, "joined"),
        (dict(reversed(KLING_INPUT.items())), "joined"),
        ({**KLING_INPUT, "duration": 6}, "miss"),
        ({**KLING_INPUT, "prompt": "Another."}, "miss"),
    ],
)
async def test_what_is_the_same_input(
    caller: httpx.AsyncClient, input_: dict[str, Any], found: str
) -> None:
    await _post(caller)
    assert (await _post(caller, json=input_)).headers["gateway-cache"] == found


async def test_a_default_that_is_left_out_is_the_same_input(caller: httpx.AsyncClient) -> None:
    short = {name: value for name, value in KLING_INPUT.items() if name != "duration"}
    await _post(caller, json=short)
    again = await _post(caller, json={**short, "duration": 10})
    assert again.headers["gateway-cache"] == "joined"


@pytest.mark.parametrize(
    ("option", "found"), [("use", "joined"), ("refresh", "joined"), ("off", "off")]
)
async def test_the_option_decides(caller: httpx.AsyncClient, option: str, found: str) -> None:
    await _post(caller)
    assert (await _post(caller, params={"cache": option})).headers["gateway-cache"] == found


async def test_what_is_usual_for_the_gateway_is_the_last_word(app: AppHarness, key: str) -> None:
    app.share_results(CacheMode.OFF)
    async with app.client(key) as caller:
        assert (await _post(caller)).headers["gateway-cache"] == "off"
        await _set_cache_policy(app, TenantCachePolicy(cache=CacheMode.USE))
        assert (await _post(caller)).headers["gateway-cache"] == "miss"


@pytest.mark.parametrize(
    ("cache_control", "params", "found"),
    [
        ("no-cache", {}, "joined"),
        ("no-store", {}, "off"),
        ("no-cache, no-store", {}, "off"),
        ("No-Store", {"cache": "use"}, "joined"),
        ("max-age=0", {}, "joined"),
        ("", {}, "joined"),
    ],
)
async def test_cache_control_means_an_option(
    caller: httpx.AsyncClient, cache_control: str, params: dict[str, str], found: str
) -> None:
    await _post(caller)
    answer = await _post(caller, params=params, headers={"cache-control": cache_control})
    assert answer.headers["gateway-cache"] == found


async def test_no_cache_returns_no_stored_result(
    app: AppHarness, caller: httpx.AsyncClient, coalescing: CoalescingHarness
) -> None:
    await _post(caller)
    await coalescing.finish(_jobs(app)[0])
    fresh = await _post(caller, headers={"cache-control": "no-cache"})
    assert (fresh.status_code, fresh.headers["gateway-cache"]) == (202, "miss")


# --- another take


async def test_a_repeated_input_is_another_take(app: AppHarness, caller: httpx.AsyncClient) -> None:
    app.share_results(None)
    answers = [await _post(caller) for _ in range(3)]
    assert [answer.headers["gateway-cache"] for answer in answers] == ["off"] * 3
    assert [job.state for job in _jobs(app)] == [JobState.QUEUED] * 3
    assert all(event.estimate == 630_000 for event in app.events_of(JobAdmitted))


async def test_each_setting_switches_sharing_on(app: AppHarness, key: str) -> None:
    app.share_results(None)
    async with app.client(key) as caller:
        asked = await _post(caller, params={"cache": "use"})
        assert asked.headers["gateway-cache"] == "miss"
        by_model = ((f"{KLING_PATH.removeprefix('/v1/models/')[:6]}*", CacheRule(CacheMode.USE)),)
        cache = replace(app.resources.policy.cache, by_model=by_model)
        app.replace_resources(policy=replace(app.resources.policy, cache=cache))
        assert (await _post(caller)).headers["gateway-cache"] == "joined"
        await _set_cache_policy(app, TenantCachePolicy(cache=CacheMode.OFF))
        assert (await _post(caller)).headers["gateway-cache"] == "off"
        app.share_results(None)
        await _set_cache_policy(app, TenantCachePolicy(cache=CacheMode.USE))
        assert (await _post(caller)).headers["gateway-cache"] == "joined"


# --- seeds


@pytest.fixture
def model_with_seed(app: AppHarness) -> None:
    """Add a model that has a seed field."""
    schema = {
        "type": "object",
        "properties": {"prompt": {"type": "string"}, "seed": {"type": "integer"}},
    }
    app.list_models({"model_id": SEEDED, "input_schema": schema})
    app.share_results(None)


@pytest.mark.parametrize(
    ("input_", "options", "found"),
    [
        ({"prompt": "x"}, {}, "off"),
        ({"prompt": "x"}, {"cache": "use"}, "joined"),
        ({"prompt": "x", "seed": 7}, {}, "joined"),
        ({"prompt": "x", "seed": 0}, {}, "joined"),
        ({"prompt": "x", "seed": -1}, {}, "off"),
        ({"prompt": "x", "seed": None}, {}, "off"),
        ({"prompt": "x", "seed": 7}, {"cache": "off"}, "off"),
    ],
)
@pytest.mark.usefixtures("model_with_seed")
async def test_no_seed_asks_for_another_result(
    caller: httpx.AsyncClient, input_: dict[str, Any], options: dict[str, str], found: str
) -> None:
    await _post(caller, SEEDED_PATH, json=input_, params=options)
    answer = await _post(caller, SEEDED_PATH, json=input_, params=options)
    assert answer.headers["gateway-cache"] == found


@pytest.mark.usefixtures("model_with_seed")
async def test_another_seed_is_another_input(caller: httpx.AsyncClient) -> None:
    await _post(caller, SEEDED_PATH, json={"seed": 9007199254740993})
    other = await _post(caller, SEEDED_PATH, json={"seed": 9007199254740992})
    assert other.headers["gateway-cache"] == "miss"


async def test_a_model_that_nobody_knows_has_no_seed_that_could_be_pinned(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    app.forward_unlisted_models()
    app.share_results(None)
    answer = await _post(caller, "/v1/models/some/model", json={"seed": 1})
    assert answer.headers["gateway-cache"] == "off"


# --- Idempotency-Key


def _list_changed(app: AppHarness, **duration: Any) -> None:  # noqa: ANN401 - JSON Schema
    schema = {"properties": {"prompt": {"type": "string"}, "duration": duration}}
    app.list_models({"model_id": SEEDED, "input_schema": schema})


async def test_a_default_that_changes_is_no_other_input_under_the_key(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    """Found: the identical retry was 422 `idempotency_key_reused`."""
    _list_changed(app, default=5)
    first = await _post(caller, SEEDED_PATH, json={"prompt": "x"}, headers=KEY)
    _list_changed(app, default=10)
    again = await _post(caller, SEEDED_PATH, json={"prompt": "x"}, headers=KEY)
    assert again.json() == first.json()
    spelled = await _post(caller, SEEDED_PATH, json={"prompt": "x", "duration": 10}, headers=KEY)
    assert (spelled.status_code, spelled.json()["code"]) == (422, "idempotency_key_reused")


@pytest.mark.parametrize("change", ["narrowed", "gone"])
async def test_the_key_is_looked_up_before_the_input_is_judged(
    app: AppHarness, caller: httpx.AsyncClient, change: str
) -> None:
    """Found: the identical retry was 422 `invalid_input`, or 404."""
    _list_changed(app, maximum=15)
    good = {"prompt": "x", "duration": 12}
    first = await _post(caller, SEEDED_PATH, json=good, headers=KEY)
    if change == "narrowed":
        _list_changed(app, maximum=10)
    else:
        app.list_models()
    again = await _post(caller, f"{SEEDED_PATH}/", json=good, headers=KEY)
    assert (again.status_code, again.headers["idempotency-replayed"]) == (202, "true")
    assert again.json() == first.json()
    refused = await _post(caller, SEEDED_PATH, json=good)
    assert refused.status_code == (422 if change == "narrowed" else 404)
    other = await _post(caller, SEEDED_PATH, json={"duration": 99}, headers=KEY)
    assert other.json()["code"] == "idempotency_key_reused"
    assert len(_jobs(app)) == 1


async def test_a_stranger_learns_nothing_of_a_key(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    _list_changed(app, maximum=15)
    await _post(caller, SEEDED_PATH, json={"duration": 12}, headers=KEY)
    _list_changed(app, maximum=10)
    async with app.client(await app.tenant("others")) as other:
        answer = await _post(other, SEEDED_PATH, json={"duration": 12}, headers=KEY)
        assert answer.json()["code"] == "invalid_input"
    async with app.client("rg_nobody") as nobody:
        assert (await _post(nobody, SEEDED_PATH, json={}, headers=KEY)).status_code == 401


async def test_an_open_job_is_replayed_as_it_stands(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    first = await _post(caller, headers=KEY)
    again = await _post(caller, headers={"idempotency-key": "one"})
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json() == first.json()
    assert again.headers["idempotency-replayed"] == "true"
    assert "gateway-cache" not in again.headers
    assert len(_jobs(app)) == 1
    assert len(app.events_of(JobAdmitted)) == 1


async def test_a_finished_job_is_replayed_with_its_result(
    app: AppHarness, caller: httpx.AsyncClient, coalescing: CoalescingHarness
) -> None:
    await _post(caller, headers=KEY)
    await coalescing.finish(_jobs(app)[0])
    again = await _post(caller, headers=KEY)
    assert (again.status_code, again.headers["idempotency-replayed"]) == (200, "true")
    assert again.json()["output"] == orjson.loads(OUTPUT)


async def test_options_are_those_of_the_first(app: AppHarness, caller: httpx.AsyncClient) -> None:
    await _post(caller, headers=KEY, params={"reference": "one"})
    again = await _post(caller, headers=KEY, params={"reference": "two", "cache": "off"})
    assert again.headers["idempotency-replayed"] == "true"
    assert [job.reference for job in _jobs(app)] == ["one"]


async def test_another_input_under_the_key_is_422(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    await _post(caller, headers=KEY)
    answer = await _post(caller, headers=KEY, json={**KLING_INPUT, "prompt": "Another."})
    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")
    assert len(_jobs(app)) == 1


async def test_a_key_that_is_required_and_missing_is_400(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    await _set_cache_policy(app, TenantCachePolicy(idempotency_required=True))
    answer = await _post(caller)
    assert (answer.status_code, answer.json()["code"]) == (400, "idempotency_key_missing")
    assert (await _post(caller, headers=KEY)).status_code == 202


async def test_the_key_of_a_deleted_request_is_410(
    app: AppHarness, caller: httpx.AsyncClient, coalescing: CoalescingHarness
) -> None:
    await _post(caller, headers=KEY)
    (job,) = _jobs(app)
    await coalescing.finish(job)
    await coalescing.delete_record(job)
    answer = await _post(caller, headers=KEY)
    assert (answer.status_code, answer.json()["code"]) == (410, "request_deleted")


async def test_a_key_is_forgotten_with_its_job(
    app: AppHarness, caller: httpx.AsyncClient, coalescing: CoalescingHarness
) -> None:
    await _post(caller, headers=KEY, params={"cache": "off"})
    await coalescing.finish(_jobs(app)[0])
    await app.clock.advance(RETENTION)
    await app.stores.heartbeats.record("w1")
    answer = await _post(caller, headers=KEY, params={"cache": "off"})
    assert (answer.status_code, answer.headers["gateway-cache"]) == (202, "off")


async def test_a_refusal_burns_no_key(app: AppHarness, key: str) -> None:
    poor = await app.tenant("poor", limits=Limits(jobs_per_day=0))
    async with app.client(poor) as caller:
        assert (await _post(caller, headers=KEY)).status_code == 429
        assert (await _post(caller, headers=KEY, content=b"nonsense", json=None)).status_code == 400
    before = await app.stores.tenants.load("poor")
    assert before is not None
    after = replace(before, limits=Limits(), version=before.version + 1)
    assert await app.stores.tenants.change(before, after)
    async with app.client(poor) as caller:
        assert (await _post(caller, headers=KEY)).status_code == 202
    assert key


# --- Prefer: wait


async def test_who_waits_for_a_follower_is_told_when_it_ends(
    app: AppHarness, caller: httpx.AsyncClient, coalescing: CoalescingHarness
) -> None:
    await _post(caller)
    task = asyncio.create_task(_post(caller, headers=WAIT))
    await run_ready_tasks()
    leader, follower = _jobs(app)
    await coalescing.finish(leader)
    await run_ready_tasks()
    assert not task.done()
    await coalescing.step_follower(follower)
    answer = await task
    assert (answer.status_code, answer.headers["gateway-cache"]) == (200, "joined")
    assert answer.json()["request_id"] == follower.id
    assert answer.json()["output"] == orjson.loads(OUTPUT)


async def test_who_waits_for_a_replayed_job_is_told_when_it_ends(
    app: AppHarness, caller: httpx.AsyncClient, coalescing: CoalescingHarness
) -> None:
    await _post(caller, headers=KEY)
    task = asyncio.create_task(_post(caller, headers=KEY | WAIT))
    await run_ready_tasks()
    assert not task.done()
    await coalescing.finish(_jobs(app)[0])
    answer = await task
    assert (answer.status_code, answer.headers["idempotency-replayed"]) == (200, "true")
    assert answer.headers["preference-applied"] == "wait=10"
    assert len(app.resources.subscriptions) == 0


async def test_a_hit_tells_no_output_to_a_key_that_may_not_read(
    app: AppHarness, coalescing: CoalescingHarness
) -> None:
    """Regression: a key with scope `submit` alone received outputs of other keys of its tenant."""
    key = await app.tenant("writers", scopes=frozenset({Scope.SUBMIT}))
    async with app.client(key) as writer:
        await _post(writer, headers=KEY)
        await coalescing.finish(_jobs(app)[0])
        answers = [await _post(writer), await _post(writer, headers=KEY)]
    assert [answer.status_code for answer in answers] == [202, 202]
    assert [answer.json()["gateway_status"] for answer in answers] == ["completed", "completed"]
    assert all("output" not in answer.json() for answer in answers)


async def test_who_waits_for_a_hit_has_it_already(
    app: AppHarness, caller: httpx.AsyncClient, coalescing: CoalescingHarness
) -> None:
    await _post(caller)
    await coalescing.finish(_jobs(app)[0])
    answer = await _post(caller, headers=WAIT)
    assert (answer.status_code, answer.headers["gateway-cache"]) == (200, "hit")
    assert answer.headers["preference-applied"] == "wait=10"
    assert len(app.resources.subscriptions) == 0


# --- dry run


async def test_a_dry_run_tells_and_leaves_nothing(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    answer = await _post(caller, params={"dry_run": "true"}, headers=KEY)
    document = answer.json()
    assert (answer.status_code, answer.headers["gateway-cache"]) == (200, "miss")
    root = f"http://gateway.test/v1/requests/{document['request_id']}"
    assert document == {
        "request_id": document["request_id"],
        "status_url": f"{root}/status",
        "result_url": f"{root}/result",
        "cancel_url": f"{root}/cancel",
        "dry_run": True,
        "model_id": KLING_PATH.removeprefix("/v1/models/"),
        "outcome": "miss",
        "runs_at_once": True,
        "estimated_cost": 0.63,
        "would_cost": 0.63,
        "fingerprint": document["fingerprint"],
    }
    assert "location" not in answer.headers
    assert (_jobs(app), app.events_of(JobAdmitted), app.events_of(CacheLookup)) == ([], [], [])
    assert (await _post(caller, headers=KEY)).headers["gateway-cache"] == "miss"


async def test_a_dry_run_of_what_is_there_costs_nothing(
    app: AppHarness, caller: httpx.AsyncClient, coalescing: CoalescingHarness
) -> None:
    await _post(caller)
    joined = (await _post(caller, params={"dry_run": "true"})).json()
    assert (joined["outcome"], joined["estimated_cost"], joined["would_cost"]) == (
        "joined",
        0.63,
        0.0,
    )
    await coalescing.finish(_jobs(app)[0])
    assert (await _post(caller, params={"dry_run": "1"})).json()["outcome"] == "hit"
    assert len(_jobs(app)) == 1


@pytest.mark.parametrize(
    ("limits", "input_", "status"),
    [
        (Limits(jobs_per_day=0), KLING_INPUT, 429),
        (Limits(usd_per_day=0), KLING_INPUT, 402),  # type: ignore[arg-type]  # nought is a sum
        (Limits(models=("other/*",)), KLING_INPUT, 403),
        (Limits(), {**KLING_INPUT, "duration": 99}, 422),
    ],
)
async def test_a_dry_run_meets_the_problem_that_the_submit_would(
    app: AppHarness, limits: Limits, input_: dict[str, Any], status: int
) -> None:
    async with app.client(await app.tenant("limited", limits=limits)) as caller:
        for params in ({"dry_run": "true"}, {}):
            assert (await _post(caller, json=input_, params=params)).status_code == status


# --- cancel


async def test_who_cancels_what_others_want_is_out_and_the_work_goes_on(
    app: AppHarness, caller: httpx.AsyncClient, coalescing: CoalescingHarness
) -> None:
    ids = [(await _post(caller)).json()["request_id"] for _ in range(3)]
    leader, *_ = _jobs(app)
    running = await coalescing.run(leader)
    answer = await caller.post(f"/v1/requests/{ids[0]}/cancel")
    assert answer.json()["outcome"] == CancelOutcome.CANCELLED
    gone, *others = _jobs(app)
    assert gone.state is JobState.CANCELLED
    assert sorted(job.state for job in others) == [JobState.FOLLOWING, JobState.RUNNING]
    (heir,) = [job for job in others if job.state is JobState.RUNNING]
    assert heir.upstream_id == running.upstream_id
    assert len(app.events_of(CacheLookup)) == 3


async def test_who_cancels_alone_cancels_the_work(
    app: AppHarness, caller: httpx.AsyncClient, coalescing: CoalescingHarness
) -> None:
    leader, follower = [(await _post(caller)).json()["request_id"] for _ in range(2)]
    await coalescing.run(_jobs(app)[0])
    for request_id, outcome in ((follower, "cancelled"), (leader, "requested")):
        call = asyncio.create_task(caller.post(f"/v1/requests/{request_id}/cancel"))
        await app.clock.advance(MAX_CANCEL_WAIT)
        assert (await call).json()["outcome"] == outcome
    assert [job.state for job in _jobs(app)] == [JobState.CANCELLING, JobState.CANCELLED]


async def test_a_follower_s_options_are_its_own(app: AppHarness, caller: httpx.AsyncClient) -> None:
    await _post(caller, params={"timeout": "60", "reference": "a"})
    await _post(caller, params={"timeout": "600", "reference": "b", "priority": "high"})
    leader, follower = _jobs(app)
    assert (leader.reference, follower.reference) == ("a", "b")
    assert leader.deadline is not None
    assert follower.deadline == leader.deadline + timedelta(seconds=540)
