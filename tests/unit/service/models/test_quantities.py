"""Tests of the fields that multiply a price."""

from typing import Any

import pytest

from core.errors import InvalidInput
from service.models import estimate_input, validate_input
from service.models.quantities import QuantityKind, quantities_of_input, quantities_of_schema
from tests.support.models import card

OUTPUTS = (
    *("n", "num_images", "num_outputs", "max_images", "number_of_images", "batch_size", "count"),
    *("batch_count", "num_videos", "image_count", "num_samples", "n_images", "quantity"),
)
SECONDS = ("duration", "video_length", "duration_seconds", "seconds", "num_seconds")
OTHERS = ("prompt", "seed", "steps", "num_inference_steps", "num_frames", "images", "max_tokens")


@pytest.mark.parametrize("name", OUTPUTS)
def test_names_of_numbers_of_outputs(name: str) -> None:
    (found,) = quantities_of_schema({"properties": {name: {"type": "integer"}}})
    assert (found.field, found.kind) == (name, QuantityKind.OUTPUTS)


@pytest.mark.parametrize("name", SECONDS)
def test_names_of_durations(name: str) -> None:
    (found,) = quantities_of_schema({"properties": {name: {"type": "integer"}}})
    assert (found.field, found.kind) == (name, QuantityKind.SECONDS)


@pytest.mark.parametrize("name", OTHERS)
def test_other_names_multiply_nothing(name: str) -> None:
    assert quantities_of_schema({"properties": {name: {}}}) == ()
    assert quantities_of_input({name: 5}) == ()


IMAGES: dict[str, Any] = {
    "properties": {"prompt": {"type": "string"}, "num_outputs": {}, "num_images": {}}
}


@pytest.mark.parametrize(
    "value",
    [
        {"num_images": 10, "num_outputs": 1e-7},
        {"num_outputs": "abc"},
        {"num_outputs": -5},
        {"num_outputs": 0},
        {"num_outputs": True},
        {"num_outputs": 2.5},
        {"num_outputs": []},
        {"num_outputs": 10**7},
        {"num_outputs": ""},
    ],
)
def test_what_is_no_number_of_outputs_is_refused_before_it_is_priced(value: dict[str, Any]) -> None:
    model = card(input_schema=IMAGES, price_unit="output")
    with pytest.raises(InvalidInput) as caught:
        validate_input(model, value)
    (error,) = caught.value.fields
    assert error.path == "/num_outputs"
    assert error.message == "must be a whole number from 1 to 1,000,000"


@pytest.mark.parametrize("value", [-5, 0, True, "abc", []])
def test_what_is_no_duration_is_refused(value: object) -> None:
    model = card(input_schema={"properties": {"duration": {}}})
    with pytest.raises(InvalidInput):
        validate_input(model, {"duration": value})


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"enum": ["auto", "5"], "type": "string"}, "auto"),
        ({"default": -1, "type": "integer"}, -1),
        ({"minimum": -1, "type": "integer"}, -1),
        ({"type": "number"}, 2.5),
        ({"type": "string"}, "8s"),
    ],
)
def test_a_value_that_the_schema_itself_names_passes(schema: dict[str, Any], value: object) -> None:
    validate_input(card(input_schema={"properties": {"duration": schema}}), {"duration": value})


def test_a_field_that_the_schema_lacks_multiplies_nothing() -> None:
    model = card(input_schema=IMAGES, price_unit="output", base_price_usd=0.03)
    assert estimate_input(model, {"batch_size": 1e-7, "num_images": 3}).cost == 90_000


def test_without_a_schema_the_names_decide() -> None:
    model = card(input_schema=None, price_unit="output", base_price_usd=0.03)
    assert estimate_input(model, {"n": 2, "num_images": 3}).cost == 90_000
    assert estimate_input(model, {"n": "many", "num_images": 3}).cost is None


@pytest.mark.parametrize("unit", ["image", "megapixel", None])
def test_another_unit_has_no_known_price(unit: object) -> None:
    assert estimate_input(card(price_unit=unit), {"num_images": 1}).cost is None
