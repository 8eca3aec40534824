import httpx
import pytest

from core.jobs.refusal_costs import RefusalCosts
from tests.support.app import KLING, KLING_INPUT, KLING_PATH, AppHarness


async def test_models_are_listed_in_runcomfy_s_shape(caller: httpx.AsyncClient) -> None:
    document = (await caller.get("/v1/models?search=kling&limit=1")).json()
    assert [model["model_id"] for model in document["models"]] == [KLING]
    assert (document["total"], document["limit"], document["offset"]) == (1, 1, 0)
    assert "input_schema" not in document["models"][0]


async def test_schemas_are_listed_when_asked_for(caller: httpx.AsyncClient) -> None:
    document = (await caller.get("/v1/models?include_schema=true")).json()
    assert "input_schema" in document["models"][0]


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=501", "limit=x", "offset=-1", "limit=%D9%A3", "include_schema=x"]
)
async def test_a_page_that_cannot_be_is_refused(caller: httpx.AsyncClient, query: str) -> None:
    assert (await caller.get(f"/v1/models?{query}")).status_code == 400


async def test_one_model_and_the_categories(caller: httpx.AsyncClient) -> None:
    assert (await caller.get(KLING_PATH)).json()["model_id"] == KLING
    categories = (await caller.get("/v1/models/categories")).json()
    assert categories == {"categories": ["image-to-video"]}


async def test_a_model_that_nobody_knows_is_404(caller: httpx.AsyncClient) -> None:
    answer = await caller.get("/v1/models/some/model")
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_model")


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/categories", KLING_PATH])
async def test_the_catalogue_is_for_key_holders(app: AppHarness, path: str) -> None:
    async with app.client() as nobody:
        assert (await nobody.get(path)).status_code == 401


@pytest.mark.parametrize(
    ("query", "limit", "with_schemas"),
    [
        ("limit=", 50, False),
        ("limit=500", 500, False),
        ("include_schema=", 50, False),
        ("include_schema=yes&offset=", 50, True),
        ("include_schema=On", 50, True),
        ("include_schema=no", 50, False),
        ("search=&category=&kind=&limit=7", 7, False),
    ],
)
async def test_options_are_read_as_runcomfys_clients_write_them(
    caller: httpx.AsyncClient, query: str, limit: int, *, with_schemas: bool
) -> None:
    document = (await caller.get(f"/v1/models?{query}")).json()
    assert document["limit"] == limit
    assert ("input_schema" in document["models"][0]) is with_schemas


async def test_all_fields_of_an_entry_are_passed_through(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    entry = {
        "model_id": "minimax/Hailuo Video 01 Live",
        "description": "Animates still drawings",
        "kind": "workflow",
        "model_url": "https://www.runcomfy.com/models/x",
        "inputs": [{"name": "prompt"}],
        "required_inputs": ["prompt"],
        "brand_new": {"x": [1]},
    }
    app.list_models(entry)
    listed = (await caller.get("/v1/models?kind=workflow&search=STILL+animates")).json()
    (found,) = listed["models"]
    assert found.items() >= entry.items()
    assert found.keys() - entry.keys() == {"charges_on_refusal", "refusals"}
    shown = (await caller.get("/v1/models/minimax/Hailuo%20Video%2001%20Live")).json()
    assert shown.items() >= entry.items()
    assert shown.keys() - found.keys() == {"schema_digest"}


async def test_whether_refusals_are_charged_is_learned_from_failed_runs(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    async def shown() -> tuple[str, dict[str, int]]:
        await app.resources.run_times.refresh()
        entry = (await caller.get(KLING_PATH)).json()
        (listed,) = (await caller.get("/v1/models?search=kling")).json()["models"]
        assert listed["charges_on_refusal"] == entry["charges_on_refusal"]
        return entry["charges_on_refusal"], entry["refusals"]

    costs = app.stores.memory.refusal_costs
    assert await shown() == ("unknown", {"charged": 0, "free": 0})
    costs[KLING] = RefusalCosts(free=2)
    assert await shown() == ("no", {"charged": 0, "free": 2})
    costs[KLING] = RefusalCosts(charged=1, free=2)
    assert await shown() == ("yes", {"charged": 1, "free": 2})


async def test_a_price_that_runcomfy_changes_shows(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    app.list_models({"model_id": KLING, "base_price_usd": 0.1, "price_unit": "second"})
    shown = (await caller.get(f"{KLING_PATH}/")).json()
    assert (shown["base_price_usd"], shown["kind"]) == (0.1, "model")
    assert "sample" in shown
    silent = {**KLING_INPUT, "generate_audio": False}
    answer = await caller.post(KLING_PATH, json=silent, params={"dry_run": "yes"})
    assert answer.json()["estimated_cost"] == 0.5
