"""Aliases: other ids for models, the operator's and each tenant's own."""

from dataclasses import replace

import httpx
import pytest

from service.models.tenant_aliases import ALIASES_KNOWN_FOR
from tests.support.app import KLING, KLING_INPUT, KLING_PATH, AppHarness

FAST = "/v1/models/video/fast"


def alias_for_all(app: AppHarness, alias: str, model_id: str) -> None:
    cache = app.resources.model_cache
    cache.registry = replace(cache.registry, aliases={**cache.registry.aliases, alias: model_id})


async def alias_for_tenant(app: AppHarness, **aliases: str) -> None:
    before = await app.stores.tenants.load("video-team")
    assert before is not None
    after = replace(before, version=before.version + 1, model_aliases=tuple(aliases.items()))
    assert await app.stores.tenants.change(before, after)


@pytest.mark.parametrize("path", [FAST, f"{FAST}/"])
async def test_a_submit_to_an_alias_is_one_to_the_model(
    app: AppHarness, caller: httpx.AsyncClient, path: str
) -> None:
    alias_for_all(app, "video/fast", KLING)
    answer = await caller.post(path, json=KLING_INPUT)
    (job,) = app.stores.memory.all_jobs()
    assert answer.status_code == 202
    assert (job.model_id, job.model_alias) == (KLING, "video/fast")
    details = (await caller.get(f"/v1/requests/{job.id}")).json()
    assert (details["model_id"], details["model_alias"]) == (KLING, "video/fast")
    (listed,) = (await caller.get("/v1/requests")).json()["requests"]
    assert listed["model_alias"] == "video/fast"


async def test_a_model_by_its_own_id_has_no_alias(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    alias_for_all(app, "video/fast", KLING)
    await caller.post(KLING_PATH, json=KLING_INPUT)
    (job,) = app.stores.memory.all_jobs()
    assert job.model_alias is None
    assert "model_alias" not in (await caller.get(f"/v1/requests/{job.id}")).json()


async def test_price_and_fingerprint_are_the_models(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    alias_for_all(app, "video/fast", KLING)
    by_alias, by_id = [
        (await caller.post(f"{path}?dry_run=true", json=KLING_INPUT)).json()
        for path in (FAST, KLING_PATH)
    ]
    for field in ("model_id", "estimated_cost", "fingerprint"):
        assert by_alias[field] == by_id[field]


async def test_an_alias_counts_before_a_model_of_that_id(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    app.list_models({"model_id": "old/model"})
    alias_for_all(app, "old/model", KLING)
    await caller.post("/v1/models/old/model", json=KLING_INPUT)
    (job,) = app.stores.memory.all_jobs()
    assert job.model_id == KLING


async def test_the_catalogue_shows_a_models_aliases(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    alias_for_all(app, "video/fast", KLING)
    await alias_for_tenant(app, mine="video/fast", other="no/model")
    shown = (await caller.get("/v1/models/mine")).json()
    assert (shown["model_id"], shown["aliases"]) == (KLING, ["mine", "video/fast"])
    (listed,) = (await caller.get("/v1/models?search=kling")).json()["models"]
    assert listed["aliases"] == ["mine", "video/fast"]
    other = await app.tenant("other-team")
    async with app.client(other) as client:
        assert (await client.get("/v1/models/mine")).status_code == 404


async def test_a_tenants_alias_is_used_at_once_and_counts_before_the_operators(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    app.list_models({"model_id": "acme/video"})
    assert (await caller.post("/v1/models/mine", json={})).status_code == 404
    alias_for_all(app, "shared", "acme/video")
    await alias_for_tenant(app, mine="acme/video", shared=KLING)
    await app.clock.advance(ALIASES_KNOWN_FOR)
    assert (await caller.post("/v1/models/mine", json={})).status_code == 202
    assert (await caller.post("/v1/models/shared", json=KLING_INPUT)).status_code == 202
    assert {job.model_id for job in app.stores.memory.all_jobs()} == {"acme/video", KLING}


async def test_an_alias_that_names_no_model_says_which(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    alias_for_all(app, "video/fast", "kling/gone")
    problem = (await caller.post(FAST, json=KLING_INPUT)).json()
    assert problem["code"] == "unknown_model"
    assert "kling/gone" in problem["detail"]


async def test_items_of_batches_may_name_aliases(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    await alias_for_tenant(app, mine=KLING)
    items = [{"model_id": "mine", "input": KLING_INPUT}]
    assert (await caller.post("/v1/batches", json={"items": items})).status_code == 202
    (job,) = app.stores.memory.all_jobs()
    assert (job.model_id, job.model_alias) == (KLING, "mine")


async def test_a_repeated_key_is_answered_after_its_alias_has_moved(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    alias_for_all(app, "video/fast", KLING)
    headers = {"Idempotency-Key": "one"}
    first = (await caller.post(FAST, json=KLING_INPUT, headers=headers)).json()
    alias_for_all(app, "video/fast", "kling/gone")
    again = await caller.post(FAST, json=KLING_INPUT, headers=headers)
    assert again.json()["request_id"] == first["request_id"]
    assert again.headers["idempotency-replayed"] == "true"


@pytest.fixture
def token(app: AppHarness) -> str:
    app.enable_admin_api("o" * 32)
    return "o" * 32


@pytest.mark.parametrize("aliases", [{"": KLING}, {"a//b": KLING}, {"a": ""}, {"a": 5}, [], "a=b"])
async def test_aliases_that_cannot_be_ids_are_refused(
    app: AppHarness, key: str, token: str, aliases: object
) -> None:
    del key
    async with app.client(token) as operator:
        answer = await operator.patch(
            "/admin/v1/tenants/video-team", json={"model_aliases": aliases}
        )
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["path"].startswith("/model_aliases")


async def test_a_tenants_aliases_are_a_setting(app: AppHarness, key: str, token: str) -> None:
    del key
    async with app.client(token) as operator:
        path = "/admin/v1/tenants/video-team"
        await operator.patch(path, json={"model_aliases": {"mine": KLING}})
        assert (await operator.get(path)).json()["model_aliases"] == {"mine": KLING}
