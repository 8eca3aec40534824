from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from core.errors import MalformedRequest, UnknownModel
from service.models import Known, ModelCard, ModelQuery, Models, Source, Unvalidated

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
KLING = "kling/kling-3.0/standard/image-to-video"


def entry(model_id: str, **fields: object) -> bytes:
    return orjson.dumps({"model_id": model_id, "input_schema": {"properties": {}}, **fields})


@pytest.fixture
def book(kling: ModelCard) -> Models:
    entries = [
        entry("zeta/image", display_name="Zeta Pictures", kind="image", categories=["t2i"]),
        entry(KLING, display_name="RunComfy's own"),
        entry("acme/video", display_name="Acme Video", kind="video", categories=["t2v", "i2v"]),
        b"not a model",
    ]
    return Models.of([kling], entries, NOW)


def ids(book: Models, query: ModelQuery) -> list[str]:
    return [card.model_id for card in book.page(query).cards]


def test_our_card_comes_before_runcomfys(book: Models) -> None:
    found = book.lookup(KLING, NOW)
    assert isinstance(found, Known)
    assert found.card.source is Source.LOCAL


def test_a_model_of_the_catalogue_is_known(book: Models) -> None:
    found = book.lookup("acme/video", NOW)
    assert isinstance(found, Known)
    assert found.card.source is Source.CATALOGUE


def test_a_fresh_catalogue_says_that_a_model_does_not_exist(book: Models) -> None:
    with pytest.raises(UnknownModel):
        book.lookup("no/such", NOW + book.fresh_for - timedelta(microseconds=1))


def test_a_stale_catalogue_does_not_but_what_it_had_stays_known(book: Models) -> None:
    later = NOW + book.fresh_for
    assert book.lookup("no/such", later) == Unvalidated("no/such")
    assert isinstance(book.lookup("acme/video", later), Known)


def test_without_any_catalogue_models_go_on_unvalidated(kling: ModelCard) -> None:
    book = Models.of([kling])
    assert book.lookup("no/such", NOW) == Unvalidated("no/such")
    assert isinstance(book.lookup(KLING, NOW), Known)


def test_freshness_is_an_argument(kling: ModelCard) -> None:
    book = Models.of([kling], [], NOW, fresh_for=HOUR)
    assert book.is_fresh(NOW + HOUR / 2)
    assert not book.is_fresh(NOW + HOUR)
    assert book.refreshed([], NOW + HOUR).is_fresh(NOW + HOUR)


@pytest.mark.parametrize("model_id", ["", "../x", "a b", "x" * 10_000, "a//b"])
def test_a_malformed_id_is_told_as_such_and_not_repeated(book: Models, model_id: str) -> None:
    with pytest.raises(MalformedRequest) as caught:
        book.lookup(model_id, NOW)
    assert len(str(caught.value)) < 200


def test_a_newer_catalogue_replaces_the_older_and_keeps_cards_that_did_not_change(
    book: Models,
) -> None:
    same = entry("acme/video", display_name="Acme Video", kind="video", categories=["t2v", "i2v"])
    newer = book.refreshed([same, entry("new/model")], NOW + HOUR)
    assert list(newer.by_id) == ["acme/video", KLING, "new/model"]
    assert newer.by_id["acme/video"] is book.by_id["acme/video"]
    assert newer.by_id[KLING] is book.by_id[KLING]
    assert newer.synced_at == NOW + HOUR
    assert list(book.by_id) == ["acme/video", KLING, "zeta/image"]


def test_documents_that_are_no_models_are_counted(book: Models) -> None:
    assert book.unreadable == 1


def test_a_card_to_show_is_found_or_unknown(book: Models) -> None:
    assert book.card("acme/video").display_name == "Acme Video"
    with pytest.raises(UnknownModel):
        book.card("no/such")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, ["acme/video", KLING, "zeta/image"]),
        ({"search": "VIDEO"}, ["acme/video", KLING]),
        ({"search": "pictures"}, ["zeta/image"]),
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
    book: Models, query: dict[str, Any], expected: list[str]
) -> None:
    assert ids(book, ModelQuery(**query)) == expected


def test_a_page_has_runcomfys_shape(book: Models) -> None:
    document = book.page(ModelQuery(limit=1, offset=1, kind="")).document()
    assert document["total"] == 3
    assert document["limit"] == 1
    assert document["offset"] == 1
    assert isinstance(document["models"], list)
    (model,) = document["models"]
    assert model["model_id"] == KLING
    assert "input_schema" not in model


def test_schemas_come_when_asked_for(book: Models) -> None:
    document: Any = book.page(ModelQuery(include_schema=True)).document()
    assert all("input_schema" in model for model in document["models"])


def test_pages_are_plain_json(book: Models) -> None:
    assert orjson.dumps(book.page(ModelQuery(include_schema=True)).document())


@pytest.mark.parametrize("wrong", [{"limit": 0}, {"limit": 101}, {"limit": -1}, {"offset": -1}])
def test_a_page_that_cannot_be_is_refused(book: Models, wrong: dict[str, Any]) -> None:
    with pytest.raises(MalformedRequest):
        book.page(ModelQuery(**wrong))


def test_categories_are_those_of_all_models_sorted(book: Models) -> None:
    assert book.categories() == {"categories": ["i2v", "image-to-video", "t2i", "t2v"]}
