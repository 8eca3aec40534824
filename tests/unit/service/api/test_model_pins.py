"""Pins: a submit that a change of a pinned model concerns is refused before it is paid for."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
import orjson
import pytest

from core.observability.events import OperationalWarning
from core.store.model_catalogue import CatalogueSnapshot
from tests.support.app import AppHarness

TOKEN = "operators-token-of-32-characters"
MODEL = "acme/Video 2"
PATH = "/v1/models/acme/Video%202"
FIELDS: dict[str, Any] = {
    "prompt": {"type": "string"},
    "duration": {"type": "integer", "minimum": 3, "maximum": 15, "default": 5},
    "style": {"type": "string"},
    "quality": {"type": "string", "default": "high"},
}
ENTRY: dict[str, Any] = {
    "model_id": MODEL,
    "display_name": "Video",
    "base_price_usd": 0.1,
    "price_unit": "output",
    "input_schema": {"type": "object", "required": ["prompt"], "properties": FIELDS},
}
Operator = httpx.AsyncClient


@pytest.fixture
async def operator(app: AppHarness) -> AsyncIterator[Operator]:
    """A client with the operators' token; the catalogue lists the model."""
    app.enable_admin_api(TOKEN)
    await sync(app, ENTRY)
    async with app.client(TOKEN) as http:
        yield http


async def sync(app: AppHarness, *entries: Mapping[str, Any]) -> None:
    """Let the catalogue be these entries, as after a worker's sync and a service's refresh."""
    rows = {str(entry["model_id"]): orjson.dumps(entry) for entry in entries}
    await app.clock.advance(app.resources.policy.worker_timeout)
    await app.stores.catalogue.replace(CatalogueSnapshot(app.clock.now(), rows))
    await app.resources.model_cache.refresh()


async def pin(app: AppHarness, operator: Operator, **more: object) -> dict[str, Any]:
    answer = await operator.post("/admin/v1/models/pin", json={"model_id": MODEL, **more})
    await app.resources.model_cache.refresh()
    document: dict[str, Any] = answer.json()
    return document


def with_fields(required: tuple[str, ...] = ("prompt",), **fields: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON Schema
    changed = {name: field for name, field in {**FIELDS, **fields}.items() if field is not None}
    schema = {"type": "object", "required": list(required), "properties": changed}
    return {**ENTRY, "input_schema": schema}


WIDER = {**FIELDS["duration"], "maximum": 30}
NARROWER = {**FIELDS["duration"], "maximum": 10}
OTHER_DEFAULT = {**FIELDS["duration"], "default": 10}
SEED = {"type": "integer"}


@pytest.mark.parametrize(
    ("changed", "value", "named"),
    [
        (with_fields(style=None), {"prompt": "a", "style": "x"}, "style: field removed"),
        (with_fields(quality=None), {"prompt": "a"}, "quality: field removed"),
        (with_fields(duration=NARROWER), {"prompt": "a", "duration": 12}, "maximum 15 -> 10"),
        (with_fields(duration=OTHER_DEFAULT), {"prompt": "a"}, "default changed (5 -> 10)"),
        (with_fields(("prompt", "seed"), seed=SEED), {"prompt": "a"}, "seed: field added"),
        (with_fields(("prompt", "style")), {"prompt": "a"}, "style: field narrowed"),
    ],
)
async def test_what_a_change_concerns_is_refused_and_names_it(
    app: AppHarness,
    operator: Operator,
    caller: httpx.AsyncClient,
    changed: dict[str, Any],
    value: dict[str, Any],
    named: str,
) -> None:
    await pin(app, operator)
    assert (await caller.post(PATH, json=value)).status_code == 202
    await sync(app, changed)
    answer = await caller.post(PATH, json=value)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (409, "pinned_model_changed")
    assert named in problem["detail"]
    assert problem["billed"] == "no"
    assert len(app.stores.memory.all_jobs()) == 1


@pytest.mark.parametrize(
    ("changed", "value"),
    [
        (with_fields(style=None), {"prompt": "a"}),
        (with_fields(duration=NARROWER), {"prompt": "a", "duration": 9}),
        (with_fields(duration=OTHER_DEFAULT), {"prompt": "a", "duration": 5}),
        (with_fields(duration=WIDER), {"prompt": "a"}),
        (with_fields(seed=SEED), {"prompt": "a"}),
        ({**ENTRY, "base_price_usd": 0.5}, {"prompt": "a"}),
        ({**ENTRY, "description": "new"}, {"prompt": "a"}),
    ],
)
async def test_what_no_change_concerns_passes(
    app: AppHarness,
    operator: Operator,
    caller: httpx.AsyncClient,
    changed: dict[str, Any],
    value: dict[str, Any],
) -> None:
    await pin(app, operator)
    await sync(app, changed)
    assert (await caller.post(PATH, json=value)).status_code == 202


async def test_a_price_counts_if_it_is_pinned(
    app: AppHarness, operator: Operator, caller: httpx.AsyncClient
) -> None:
    await pin(app, operator, with_price=True)
    await sync(app, {**ENTRY, "base_price_usd": 0.5})
    problem = (await caller.post(PATH, json={"prompt": "a"})).json()
    assert "0.1 USD per output -> 0.5 USD per output" in problem["detail"]


async def test_a_repeated_key_is_answered_after_the_model_has_changed(
    app: AppHarness, operator: Operator, caller: httpx.AsyncClient
) -> None:
    await pin(app, operator)
    headers = {"idempotency-key": '"one"'}
    first = await caller.post(PATH, json={"prompt": "a"}, headers=headers)
    await sync(app, with_fields(duration=OTHER_DEFAULT))
    again = await caller.post(PATH, json={"prompt": "a"}, headers=headers)
    assert again.json()["request_id"] == first.json()["request_id"]
    assert (await caller.post(PATH, json={"prompt": "a"})).status_code == 409


async def test_a_wrong_input_is_wrong_as_ever(
    app: AppHarness, operator: Operator, caller: httpx.AsyncClient
) -> None:
    await pin(app, operator)
    await sync(app, with_fields(style=None))
    answer = await caller.post(PATH, json={"prompt": 5})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")


async def test_a_model_that_is_gone_is_refused_where_unlisted_ones_pass(
    app: AppHarness, operator: Operator, caller: httpx.AsyncClient
) -> None:
    await pin(app, operator)
    await sync(app, {"model_id": "other/model"})
    app.forward_unlisted_models()
    answer = await caller.post(PATH, json={"prompt": "a"})
    assert answer.json()["code"] == "pinned_model_changed"


async def test_a_tenants_own_pin_counts_before_the_one_for_all(
    app: AppHarness, operator: Operator, caller: httpx.AsyncClient
) -> None:
    await pin(app, operator)
    await sync(app, with_fields(style=None))
    own = await pin(app, operator, tenant="video-team")
    assert [(one["tenant"], len(one["changes"])) for one in own["pins"]] == [
        (None, 1),
        ("video-team", 0),
    ]
    value = {"prompt": "a", "style": "x"}
    assert (await caller.post(PATH, json=value)).status_code == 202
    async with app.client(await app.tenant("other-team")) as other:
        assert (await other.post(PATH, json=value)).status_code == 409


async def test_a_pin_by_alias_or_batch_holds_too(
    app: AppHarness, operator: Operator, caller: httpx.AsyncClient
) -> None:
    await pin(app, operator)
    await sync(app, with_fields(style=None))
    item = {"model_id": MODEL, "input": {"prompt": "a", "style": "x"}}
    answer = await caller.post("/v1/batches", json={"items": [item]})
    assert answer.status_code == 422
    assert "style: field removed" in answer.json()["detail"]


async def test_pins_are_listed_renewed_and_removed(
    app: AppHarness, operator: Operator, caller: httpx.AsyncClient
) -> None:
    shown = (await caller.get(PATH)).json()
    (listed,) = (await pin(app, operator, schema_digest=shown["schema_digest"]))["pins"]
    assert listed["schema_digest"] == shown["schema_digest"]
    assert listed["changes"] == []
    await sync(app, with_fields(style=None))
    (listed,) = (await operator.get("/admin/v1/models/pins")).json()["pins"]
    assert [(one["kind"], one["subject"]) for one in listed["changes"]] == [
        ("field_removed", "style")
    ]
    assert (await pin(app, operator, schema_digest=shown["schema_digest"]))["code"] == "conflict"
    assert (await pin(app, operator))["pins"][0]["changes"] == []
    left = await operator.post("/admin/v1/models/unpin", json={"model_id": MODEL})
    assert left.json() == {"pins": []}
    again = await operator.post("/admin/v1/models/unpin", json={"model_id": MODEL})
    assert again.status_code == 404
    actions = [
        (one["action"], one["subject"])
        for one in (await operator.get("/admin/v1/audit")).json()["entries"]
    ]
    assert actions == [
        ("model.unpin", MODEL),
        ("model.pin", MODEL),
        ("model.pin", MODEL),
    ]


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"model_id": "no/model"}, 404),
        ({"tenant": "nobody"}, 404),
        ({"tenant": "No Name"}, 422),
        ({"model_id": ""}, 422),
        ({"with_price": "yes"}, 422),
        ({"typo": 1}, 422),
    ],
)
async def test_a_pin_that_cannot_be_is_refused(
    operator: Operator, fields: dict[str, object], status: int
) -> None:
    answer = await operator.post("/admin/v1/models/pin", json={"model_id": MODEL, **fields})
    assert answer.status_code == status


async def test_operators_are_warned_once_of_a_pinned_model_that_changed(
    app: AppHarness, operator: Operator
) -> None:
    await pin(app, operator)
    await sync(app, with_fields(style=None))
    await app.resources.model_cache.refresh()
    warnings = [one for one in app.events if isinstance(one, OperationalWarning)]
    assert [one.code for one in warnings] == ["pinned_model_changed"]
    assert "style: field removed" in warnings[0].detail


async def test_the_pins_of_a_deleted_tenant_go_with_it(
    app: AppHarness, operator: Operator, key: str
) -> None:
    del key
    await pin(app, operator)
    await pin(app, operator, tenant="video-team")
    assert (await operator.delete("/admin/v1/tenants/video-team")).status_code in {200, 204}
    (left,) = (await operator.get("/admin/v1/models/pins")).json()["pins"]
    assert left["tenant"] is None
