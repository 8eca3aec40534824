"""RunComfy's catalogue and balance, on RunComfy and on the gateway in front of it."""

from typing import Final

import httpx

from simulator.demo import wait_for
from tests.conformance.runcomfy_client import END_TIMEOUT, EXAMPLE, Json, RunComfyClient

KINDS: Final = {"model", "workflow", "inference"}
FIELDS: Final = {
    "model_id",
    "display_name",
    "description",
    "kind",
    "categories",
    "base_price_usd",
    "price_unit",
    "pricing_note",
    "model_url",
    "inputs",
    "required_inputs",
}
SCHEMAS: Final = {"input_schema", "output_schema"}
ONE_SENTENCE: Final = "glyph/caption-1/image-to-text"
"""The only model of the kind `inference`; its description has "one sentence"."""


def page(client: RunComfyClient, **query: str) -> Json:
    """A page of the catalogue, once the gateway has RunComfy's."""
    client.poll_until("/v1/models", lambda found: ONE_SENTENCE in ids(found), limit="500")
    return client.get("/v1/models", **query)


def ids(found: Json) -> list[str]:
    """The models of a page."""
    return [entry["model_id"] for entry in found["models"]]


def test_an_entry_has_every_field(client: RunComfyClient) -> None:
    found = page(client, limit="500", offset="0")
    assert (found["limit"], found["offset"]) == (500, 0)
    assert found["total"] == len(found["models"]) == len(set(ids(found)))
    for entry in found["models"]:
        assert entry.keys() >= FIELDS
        assert not entry.keys() & SCHEMAS
        assert entry["kind"] in KINDS


def test_pages_together_are_the_catalogue(client: RunComfyClient) -> None:
    everything = ids(page(client, limit="500"))
    pages = [page(client, limit="2", offset=str(start)) for start in range(0, len(everything), 2)]
    assert [name for found in pages for name in ids(found)] == everything


def test_models_are_found_by_description_kind_and_category(client: RunComfyClient) -> None:
    assert ids(page(client, search="One Sentence")) == [ONE_SENTENCE]
    assert ids(page(client, search="caption-1")) == [ONE_SENTENCE]
    assert ids(page(client, kind="inference")) == [ONE_SENTENCE]
    assert ids(page(client, category="image-to-text")) == [ONE_SENTENCE]
    assert ids(page(client, search="no such model")) == []


def test_schemas_come_on_request_and_with_one_model(client: RunComfyClient) -> None:
    (entry,) = page(client, search="caption-1", include_schema="true")["models"]
    assert entry.keys() >= SCHEMAS
    model = client.get(f"/v1/models/{EXAMPLE.model_id}")
    assert model.keys() >= SCHEMAS
    assert {"prompt", "start_image_url"} <= model["input_schema"]["properties"].keys()


def test_the_categories(client: RunComfyClient) -> None:
    page(client)
    categories = client.get("/v1/models/categories")["categories"]
    assert {"image-to-video", "image-to-text"} <= set(categories)


def test_the_balance_has_three_fields(client: RunComfyClient) -> None:
    def read() -> Json | None:
        answer = client.http.get("/prod/v2/balance")
        found: Json | None = answer.json() if answer.status_code == httpx.codes.OK else None
        return found

    balance = wait_for(read, END_TIMEOUT, "the balance")
    assert balance["currency"] == "USD"
    assert isinstance(balance["balance_microdollars"], int)
    assert round(balance["balance_usd"] * 1_000_000) == balance["balance_microdollars"]
