"""Catalogue entries."""

import json
from typing import Any

import orjson
import pytest

from core.errors import InvalidInput
from core.money import MicroUsd
from service.models import CardSource, ModelCard, estimate_input, validate_input
from service.models.card import parse_local_card
from service.models.catalogue_entry import parse_catalogue_card
from service.models.pricing import Price, PriceUnit
from tests.support.models import WHOLE, card


def test_an_entry_becomes_a_card_of_the_same_type_as_ours() -> None:
    got = card()
    assert got.model_id == "acme/video-1"
    assert got.display_name == "Acme Video 1"
    assert got.kind == "video"
    assert got.categories == ("text-to-video", "image-to-video")
    assert got.source is CardSource.CATALOGUE
    assert got.price == Price(PriceUnit.SECOND, MicroUsd(50_000))
    assert got.remarks == ("/required names 'image', which is not a property",)


def test_what_runcomfy_says_is_shown_unchanged() -> None:
    assert card().representation() == WHOLE
    assert "input_schema" not in card().representation(include_schema=False)
    assert card().representation(include_schema=False)["released"] == "2026-01-01"


def test_its_inputs_are_checked_and_its_unknown_fields_passed_on() -> None:
    good = {"prompt": "x", "seed": None, "image_url": "https://example.com/a", "brand_new": [1]}
    validate_input(card(), good)
    assert estimate_input(card(), good).cost == 250_000
    with pytest.raises(InvalidInput) as caught:
        validate_input(card(), {"prompt": 5, "duration": 11})
    assert {field.path for field in caught.value.fields} == {"/prompt", "/duration"}
    with pytest.raises(InvalidInput) as caught:
        validate_input(card(), {"prompt": "x", "image_url": "https://127.1/"})
    assert [field.path for field in caught.value.fields] == ["/image_url"]


@pytest.mark.parametrize("name", [name for name in WHOLE if name != "model_id"])
@pytest.mark.parametrize("odd", ["absent", None, 5, "x", [], {}, [None], {"x": 1}, True, -1])
def test_anything_may_be_missing_or_odd(name: str, odd: object) -> None:
    document = {key: value for key, value in WHOLE.items() if key != name}
    if odd != "absent":
        document[name] = odd
    got = parse_catalogue_card(orjson.dumps(document))
    assert got
    assert got.representation() == document
    validate_input(got, {"prompt": "x"})
    estimate_input(got, {"prompt": "x"})


@pytest.mark.parametrize(
    "schema",
    [None, 5, [], "x", {"$ref": "#/$defs/none"}],
)
def test_a_broken_schema_leaves_the_model_usable_unvalidated_and_told(schema: object) -> None:
    got = card(input_schema=schema)
    assert got.checks is None
    assert len(got.remarks) == 1
    assert "unchecked" in got.remarks[0]
    validate_input(got, {"anything": 1})
    assert estimate_input(got, {"duration": 2}).cost == 100_000
    with pytest.raises(InvalidInput):
        validate_input(got, [])


@pytest.mark.parametrize(
    ("changes", "price"),
    [
        ({"base_price_usd": "0.05"}, 50_000),
        ({"base_price_usd": 0}, 0),
        ({"base_price_usd": -1}, None),
        ({"base_price_usd": None}, None),
        ({"price_unit": "minute"}, None),
        ({"price_unit": ["second"]}, None),
        ({"price_unit": None}, None),
    ],
)
def test_an_unclear_price_is_no_price(changes: dict[str, Any], price: int | None) -> None:
    got = card(**changes).price
    assert (got.rate if got else None) == price


@pytest.mark.parametrize(
    "document",
    [
        *(b"", b"{", b"[]", b"null", b'"x"', b"{}", b"\xff\xfe", b"<html>", b"[" * 2000),
        *(b'{"model_id": 5}', b'{"model_id": ""}', b'{"model_id": "../admin"}'),
    ],
)
def test_what_is_no_model_is_no_card(document: bytes) -> None:
    assert parse_catalogue_card(document) is None


OWN = parse_local_card(
    {
        "model_id": "acme/video-1",
        "display_name": "Ours",
        "description": "Our text",
        "kind": "model",
        "base_price_usd": 0.05,
        "price_unit": "second",
        "unknown_fields": "refuse",
        "surcharges": [{"field": "audio", "equals": True, "usd": 0.1}],
        "media": [{"field": "image_url", "kind": "image", "subtypes": ["png"]}],
        "sample": {"prompt": "x"},
        "input_schema": {"properties": {"prompt": {"type": "string"}, "duration": {"default": 5}}},
    }
)


def overlaid(**changes: object) -> ModelCard:
    document = orjson.dumps({**WHOLE, **changes})
    got = parse_catalogue_card(document, {OWN.model_id: OWN})
    assert got
    return got


def test_an_own_card_is_laid_over_runcomfys_entry() -> None:
    got = overlaid(description=None)
    assert got.source is CardSource.BOTH
    assert (got.display_name, got.description, got.kind) == ("Acme Video 1", "Our text", "video")
    assert got.representation() == {
        **WHOLE,
        "description": "Our text",
        "sample": {"prompt": "x"},
    }


def test_a_price_that_runcomfy_changes_is_the_price_with_its_surcharges() -> None:
    value = {"prompt": "x", "audio": True}
    assert estimate_input(overlaid(), {"prompt": "x"}).cost == 250_000
    assert estimate_input(overlaid(), value).cost == 500_000
    dearer = overlaid(base_price_usd=0.2)
    assert estimate_input(dearer, {"prompt": "x"}).cost == 1_000_000
    assert estimate_input(dearer, value).cost == 2_000_000
    assert estimate_input(overlaid(price_unit="minute"), value).cost is None


def test_a_field_that_runcomfy_adds_is_accepted_and_one_that_it_drops_is_not() -> None:
    fields = {**WHOLE["input_schema"]["properties"], "brand_new": {"type": "integer"}}
    del fields["duration"]
    got = overlaid(input_schema={"properties": fields})
    validate_input(got, {"prompt": "x", "brand_new": 1})
    for wrong in ({"brand_new": "1"}, {"duration": 5}, {"other": 1}):
        with pytest.raises(InvalidInput):
            validate_input(got, {"prompt": "x", **wrong})
    with pytest.raises(InvalidInput):
        validate_input(got, {"prompt": "x", "image_url": "data:image/gif;base64,QUJD"})


@pytest.mark.parametrize("name", [name for name in WHOLE if name != "model_id"])
@pytest.mark.parametrize("odd", ["absent", None, 5, "x", [], {}, [None], {"x": 1}, True, -1])
def test_what_an_entry_lacks_or_has_in_an_odd_form_is_the_own_cards(name: str, odd: object) -> None:
    document = {key: value for key, value in WHOLE.items() if key != name}
    if odd != "absent":
        document[name] = odd
    got = parse_catalogue_card(orjson.dumps(document), {OWN.model_id: OWN})
    assert got
    assert got.checks
    assert got.display_name
    validate_input(got, {"prompt": "x"})


def test_an_entry_that_cannot_be_parsed_leaves_the_own_card() -> None:
    deep: dict[str, object] = {}
    for _ in range(400):
        deep = {"properties": {"x": deep}}
    document = b'{"model_id":"acme/video-1","input_schema":' + json.dumps(deep).encode() + b"}"
    got = parse_catalogue_card(document, {OWN.model_id: OWN})
    assert got
    validate_input(got, {"prompt": "x"})
    alone = parse_catalogue_card(document)
    assert alone
    assert alone.checks is None
