from dataclasses import replace

import httpx
import orjson

from tests.support.upstream_client import HarnessFactory
from worker.ports import CatalogueModel, CatalogueSource, Unreachable
from worker.upstream.config import UpstreamLimits


def _entry(number: int, **more: object) -> dict[str, object]:
    return {"model_id": f"m/{number}", "input_schema": {"type": "object"}, **more}


def _page(entries: list[object], **more: object) -> httpx.Response:
    return httpx.Response(200, json={"models": entries, **more})


def _paged_catalogue(count: int, page: int = 100) -> httpx.MockTransport:
    """A catalogue of `count` models in pages of at most `page`."""

    def answer(request: httpx.Request) -> httpx.Response:
        offset = int(request.url.params["offset"])
        wanted = range(offset, min(offset + page, count))
        return _page([_entry(number) for number in wanted], total=count)

    return httpx.MockTransport(answer)


async def test_all_pages_are_read(harness_for: HarnessFactory) -> None:
    desk = harness_for(_paged_catalogue(250).handle_request)
    catalogue: CatalogueSource = desk.catalogue

    models = await catalogue.list_models()

    assert isinstance(models, tuple)
    assert [model.model_id for model in models] == [f"m/{number}" for number in range(250)]
    assert orjson.loads(models[7].document) == _entry(7)
    assert [dict(sent.url.params) for sent in desk.reads] == [
        {"include_schema": "true", "limit": "100", "offset": offset}
        for offset in ("0", "100", "200")
    ]


async def test_a_smaller_page_than_asked_for_is_not_the_last(harness_for: HarnessFactory) -> None:
    models = await harness_for(_paged_catalogue(70, page=20).handle_request).catalogue.list_models()

    assert isinstance(models, tuple)
    assert len(models) == 70


async def test_without_a_total_an_empty_page_ends_it(harness_for: HarnessFactory) -> None:
    pages = iter([_page([_entry(0)]), _page([_entry(1)]), _page([])])

    models = await harness_for(lambda _: next(pages)).catalogue.list_models()

    assert isinstance(models, tuple)
    assert len(models) == 2


async def test_an_offset_that_is_not_heeded_ends_it(harness_for: HarnessFactory) -> None:
    desk = harness_for(lambda _: _page([_entry(0)], total=1000))

    models = await desk.catalogue.list_models()

    assert isinstance(models, tuple)
    assert len(models) == 1
    assert len(desk.reads) == 2


async def test_unusable_entries_are_left_out(harness_for: HarnessFactory) -> None:
    odd: list[object] = [None, 3, {}, {"model_id": 4}, {"model_id": "../x"}, _entry(1)]

    models = await harness_for(lambda _: _page(odd, total=6)).catalogue.list_models()

    assert isinstance(models, tuple)
    assert [model.model_id for model in models] == ["m/1"]


async def test_a_field_nested_too_deeply_is_left_out_and_stops_nothing(
    harness_for: HarnessFactory,
) -> None:
    deep: object = {}
    for _ in range(400):
        deep = {"properties": {"x": deep}}
    entries: list[object] = [_entry(0), _entry(1, input_schema=deep, kind="model"), _entry(2)]

    models = await harness_for(lambda _: _page(entries, total=3)).catalogue.list_models()

    assert isinstance(models, tuple)
    assert [model.model_id for model in models] == ["m/0", "m/1", "m/2"]
    assert orjson.loads(models[1].document) == {"model_id": "m/1", "kind": "model"}


async def test_any_id_that_runcomfy_lists_is_kept_and_read_by_its_own_path(
    harness_for: HarnessFactory,
) -> None:
    names = ["minimax/Hailuo Video 01 Live", "kling/kling-video-o3/4K/image-to-video", "a+b/c.d"]

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/models":
            return _page([{"model_id": name} for name in names], total=3)
        return httpx.Response(200, json={"input_schema": {"of": request.url.path}})

    models = await harness_for(answer).catalogue.list_models()

    assert isinstance(models, tuple)
    assert [orjson.loads(model.document) for model in models] == [
        {"model_id": name, "input_schema": {"of": f"/v1/models/{name}"}} for name in names
    ]


async def test_a_missing_schema_is_asked_for_within_the_bound(harness_for: HarnessFactory) -> None:
    bare: list[object] = [{"model_id": f"m/{number}", "kind": "video"} for number in range(3)]

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/models":
            return _page(bare, total=3)
        return httpx.Response(200, json={"input_schema": {"of": request.url.path}})

    desk = harness_for(answer)
    desk.limits = replace(desk.limits, max_schema_fetches=2)

    models = await desk.catalogue.list_models()

    assert isinstance(models, tuple)
    assert [orjson.loads(model.document).get("input_schema") for model in models] == [
        {"of": "/v1/models/m/0"},
        {"of": "/v1/models/m/1"},
        None,
    ]


async def test_a_schema_that_cannot_be_had_leaves_the_rest(harness_for: HarnessFactory) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/models":
            return _page([{"model_id": "m/0"}, {"model_id": "m/1"}], total=2)
        return httpx.Response(404)

    desk = harness_for(answer)

    assert await desk.catalogue.list_models() == (
        CatalogueModel("m/0", b'{"model_id":"m/0"}'),
        CatalogueModel("m/1", b'{"model_id":"m/1"}'),
    )
    assert len(desk.reads) == 2


async def test_a_lost_page_loses_the_catalogue(harness_for: HarnessFactory) -> None:
    pages = iter([_page([_entry(0)], total=2), httpx.Response(502)])

    models = await harness_for(lambda _: next(pages)).catalogue.list_models()

    assert isinstance(models, Unreachable)
    assert models.fault.kind == "http_5xx"


async def test_a_page_of_another_shape_is_malformed(harness_for: HarnessFactory) -> None:
    models = await harness_for(
        lambda _: httpx.Response(200, json={"items": []})
    ).catalogue.list_models()

    assert isinstance(models, Unreachable)
    assert models.fault.kind == "malformed"


async def test_pages_and_bytes_are_bounded(harness_for: HarnessFactory) -> None:
    for limits in (UpstreamLimits(max_catalogue_pages=2), UpstreamLimits(max_catalogue_bytes=3000)):
        desk = harness_for(_paged_catalogue(250, page=50).handle_request)
        desk.limits = limits

        models = await desk.catalogue.list_models()

        assert isinstance(models, Unreachable)
        assert models.fault.kind == "oversized"


async def test_categories_pass_unread(harness_for: HarnessFactory) -> None:
    raw = b'{"categories":  ["video"]}'
    desk = harness_for(lambda _: httpx.Response(200, content=raw))

    assert await desk.catalogue.list_categories() == raw
    assert desk.reads[0].url.path == "/v1/models/categories"


async def test_absent_categories_are_unreachable(harness_for: HarnessFactory) -> None:
    categories = await harness_for(lambda _: httpx.Response(404)).catalogue.list_categories()

    assert isinstance(categories, Unreachable)
    assert categories.fault.kind == "not_found"
