import httpx
import pytest

from tests.support.app import KLING, KLING_PATH, AppHarness


async def test_models_are_listed_in_runcomfy_s_shape(caller: httpx.AsyncClient) -> None:
    document = (await caller.get("/v1/models?search=kling&limit=1")).json()
    assert [model["model_id"] for model in document["models"]] == [KLING]
    assert (document["total"], document["limit"], document["offset"]) == (1, 1, 0)
    assert "input_schema" not in document["models"][0]


async def test_schemas_are_listed_when_asked_for(caller: httpx.AsyncClient) -> None:
    document = (await caller.get("/v1/models?include_schema=true")).json()
    assert "input_schema" in document["models"][0]


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=101", "limit=x", "offset=-1", "limit=%D9%A3", "include_schema=x"]
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
