from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from core.errors import InvalidInput, MalformedRequest, UnknownModel
from service.models import (
    CardSource,
    ModelCard,
    ModelQuery,
    ModelRegistry,
    UnlistedPolicy,
)
from service.parsing.request_models import parse_model

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
KLING = "kling/kling-3.0/standard/image-to-video"


def entry(model_id: str, **fields: object) -> bytes:
    return orjson.dumps({"model_id": model_id, "input_schema": {"properties": {}}, **fields})


@pytest.fixture
def registry(kling: ModelCard) -> ModelRegistry:
    entries = [
        entry(
            "zeta/image",
            display_name="Zeta Pictures",
            kind="image",
            categories=["t2i"],
            description="Pictures of cats",
        ),
        entry(KLING, display_name="RunComfy's own"),
        entry("acme/video", display_name="Acme Video", kind="video", categories=["t2v", "i2v"]),
        b"not a model",
    ]
    return ModelRegistry.build([kling], entries, NOW)


def ids(registry: ModelRegistry, query: ModelQuery) -> list[object]:
    return [entry["model_id"] for entry in registry.page_representation(query)["models"]]


def test_a_model_of_the_catalogue_is_known(registry: ModelRegistry) -> None:
    found = registry.lookup("acme/video", NOW)
    assert found is not None
    assert found.source is CardSource.CATALOGUE


def test_a_model_that_is_not_listed_is_refused_with_near_names_and_the_catalogues_age(
    registry: ModelRegistry,
) -> None:
    for age, told in ((30, "30 seconds"), (240, "4 minutes"), (4 * 3600, "4 hours")):
        with pytest.raises(UnknownModel) as caught:
            registry.lookup("acme/vidoe", NOW + timedelta(seconds=age))
        assert str(caught.value) == (
            "No model acme/vidoe is listed. Did you mean acme/video? The catalogue was read "
            f"{told} ago; a worker reads it again within a minute."
        )


@pytest.mark.parametrize("age", [timedelta(), timedelta(days=30)])
def test_no_age_of_the_catalogue_makes_it_take_any_id(
    registry: ModelRegistry, age: timedelta
) -> None:
    with pytest.raises(UnknownModel):
        registry.lookup("no/such", NOW + age)
    assert registry.lookup("acme/video", NOW + age) is not None


def test_without_any_catalogue_the_own_cards_are_known(kling: ModelCard) -> None:
    book = ModelRegistry.build([kling])
    assert book.lookup(KLING, NOW) is not None
    with pytest.raises(UnknownModel, match="No worker has read RunComfy's catalogue yet"):
        book.lookup("no/such", NOW)


def test_an_operator_may_have_unlisted_models_forwarded(registry: ModelRegistry) -> None:
    book = replace(registry, unlisted=UnlistedPolicy.FORWARD)
    assert book.lookup("no/such", NOW) is None
    assert book.with_catalogue([], NOW).lookup("no/such", NOW) is None
    with pytest.raises(UnknownModel):
        book.card("no/such", NOW)


@pytest.mark.parametrize("model_id", ["", "../x", "a\tb", "x" * 10_000, "a//b"])
@pytest.mark.parametrize("unlisted", UnlistedPolicy)
def test_a_malformed_id_is_told_as_such_and_not_repeated(
    registry: ModelRegistry, model_id: str, unlisted: UnlistedPolicy
) -> None:
    with pytest.raises(MalformedRequest) as caught:
        replace(registry, unlisted=unlisted).lookup(model_id, NOW)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("minimax/Hailuo Video 01 Live", "minimax/Hailuo Video 01 Live"),
        ("minimax/Hailuo+Video+01+Live", "minimax/Hailuo Video 01 Live"),
        ("minimax/Hailuo+Video+01+Live/", "minimax/Hailuo Video 01 Live"),
        ("a+b/c", "a+b/c"),
        ("a b/c", "a b/c"),
        ("x+y", "x+y"),
        ("kling/4K/x/", "kling/4K/x"),
        ("no/such/", "no/such"),
    ],
)
def test_a_path_means_the_model_that_it_can_mean(written: str, meant: str) -> None:
    names = ["minimax/Hailuo Video 01 Live", "a+b/c", "a b/c", "kling/4K/x"]
    book = ModelRegistry.build([], map(entry, names), NOW)
    assert book.resolve(written).model_id == meant
    assert book.lists(written) is (meant in names)


def test_a_newer_catalogue_replaces_the_older_and_keeps_cards_that_did_not_change(
    registry: ModelRegistry,
) -> None:
    same = entry("acme/video", display_name="Acme Video", kind="video", categories=["t2v", "i2v"])
    newer = registry.with_catalogue([same, entry("new/model")], NOW + HOUR)
    assert list(newer.by_id) == ["acme/video", KLING, "new/model"]
    assert newer.by_id["acme/video"] is registry.by_id["acme/video"]
    assert newer.by_id[KLING].source is CardSource.LOCAL
    assert newer.synced_at == NOW + HOUR
    assert list(registry.by_id) == ["acme/video", KLING, "zeta/image"]


def test_documents_that_are_no_models_are_counted(registry: ModelRegistry) -> None:
    assert list(registry.cards_by_document.values()).count(None) == 1


def test_a_card_to_show_is_found_or_unknown(registry: ModelRegistry) -> None:
    assert registry.card("acme/video", NOW).display_name == "Acme Video"
    with pytest.raises(UnknownModel):
        registry.card("no/such", NOW)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, ["acme/video", KLING, "zeta/image"]),
        ({"search": "VIDEO"}, ["acme/video", KLING]),
        ({"search": "pictures"}, ["zeta/image"]),
        ({"search": "Of Cats"}, ["zeta/image"]),
        ({"search": "kling standard"}, [KLING]),
        ({"search": "kling zeta"}, []),
        ({"category": "i2v"}, ["acme/video"]),
        ({"category": "i2"}, []),
        ({"kind": "image"}, ["zeta/image"]),
        ({"kind": "video", "search": "acme"}, ["acme/video"]),
        ({"limit": 2}, ["acme/video", KLING]),
        ({"limit": 2, "offset": 2}, ["zeta/image"]),
        ({"offset": 99}, []),
    ],
)
def test_the_list_is_searched_filtered_and_paged(
    registry: ModelRegistry, query: dict[str, Any], expected: list[str]
) -> None:
    assert ids(registry, ModelQuery(**query)) == expected


def test_a_page_has_runcomfys_shape(registry: ModelRegistry) -> None:
    document = registry.page_representation(ModelQuery(limit=1, offset=1, kind=""))
    assert document["total"] == 3
    assert document["limit"] == 1
    assert document["offset"] == 1
    assert isinstance(document["models"], list)
    (model,) = document["models"]
    assert model["model_id"] == KLING
    assert "input_schema" not in model


def test_schemas_come_when_asked_for(registry: ModelRegistry) -> None:
    document: Any = registry.page_representation(
        parse_model(ModelQuery, {"include_schema": "true"})
    )
    assert all("input_schema" in model for model in document["models"])


def test_pages_are_plain_json(registry: ModelRegistry) -> None:
    assert orjson.dumps(
        registry.page_representation(parse_model(ModelQuery, {"include_schema": "true"}))
    )


@pytest.mark.parametrize("wrong", [{"limit": 0}, {"limit": 501}, {"limit": -1}, {"offset": -1}])
def test_a_page_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        parse_model(ModelQuery, wrong)


def test_categories_are_those_of_all_models_sorted(registry: ModelRegistry) -> None:
    assert registry.categories_representation() == {
        "categories": ["i2v", "image-to-video", "t2i", "t2v"]
    }
