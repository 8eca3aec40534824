"""Prices and estimates."""

from typing import Any

import pytest

from core.deduplication.fingerprint import NO_DEFAULTS, Defaults
from core.money import MicroUsd
from service.models.pricing import Price, PriceUnit, Surcharge, estimate_at_price
from service.models.quantities import Quantity, quantities_of_schema
from tests.support.models import BY_OUTPUT, BY_SECOND


def schema_of(*names: str, **bounds: Any) -> tuple[Quantity, ...]:  # noqa: ANN401 - JSON Schema
    return quantities_of_schema({"properties": dict.fromkeys(names, bounds)})


FIELDS = schema_of("duration", "num_outputs", "num_images", "n", "max_images", "batch_size")


def estimate(
    price: Price | None,
    value: dict[str, Any],
    defaults: Defaults = NO_DEFAULTS,
    quantities: tuple[Quantity, ...] = FIELDS,
) -> int | None:
    return estimate_at_price(price, value, defaults, quantities).cost


@pytest.mark.parametrize(
    ("price", "value", "video_ms"),
    [
        (None, {"duration": 5}, None),
        (BY_SECOND, {"duration": 5}, 5_000),
        (BY_SECOND, {"duration": 2.5}, 3_000),
        (BY_SECOND, {"duration": 5, "num_outputs": 4}, 20_000),
        (BY_SECOND, {"duration": "auto"}, None),
        (BY_OUTPUT, {"duration": 5, "num_outputs": 3}, None),
    ],
)
def test_the_length_is_that_of_all_outputs_of_a_model_priced_by_the_second(
    price: Price | None, value: dict[str, Any], video_ms: int | None
) -> None:
    assert estimate_at_price(price, value, NO_DEFAULTS, FIELDS).video_ms == video_ms


@pytest.mark.parametrize(
    ("price", "value", "micro_usd"),
    [
        (None, {"duration": 5}, None),
        (BY_SECOND, {"duration": 5}, 250_000),
        (BY_SECOND, {"duration": 5.0}, 250_000),
        (BY_SECOND, {"duration": 2.5}, 150_000),
        (BY_SECOND, {"duration": 1e-7}, 50_000),
        (BY_SECOND, {"duration": "5"}, 250_000),
        (BY_SECOND, {"duration": "8s"}, 400_000),
        (BY_SECOND, {"duration": 5, "num_outputs": 4}, 1_000_000),
        (BY_SECOND, {}, None),
        (BY_SECOND, {"duration": None}, None),
        (BY_SECOND, {"duration": "auto"}, None),
        (BY_SECOND, {"duration": True}, None),
        (BY_SECOND, {"duration": 0}, None),
        (BY_SECOND, {"duration": -5}, None),
        (BY_SECOND, {"duration": 1e300}, None),
        (BY_SECOND, {"duration": 10**18}, None),
        (BY_SECOND, {"duration": "9" * 50}, None),
        (BY_SECOND, {"duration": [5]}, None),
        (BY_OUTPUT, {}, 30_000),
        (BY_OUTPUT, {"num_outputs": 3}, 90_000),
        (BY_OUTPUT, {"num_images": 2}, 60_000),
        (BY_OUTPUT, {"n": 4}, 120_000),
        (BY_OUTPUT, {"max_images": 4}, 120_000),
        (BY_OUTPUT, {"batch_size": 4}, 120_000),
        (BY_OUTPUT, {"num_outputs": 2, "n": 4}, 120_000),
        (BY_OUTPUT, {"num_outputs": 4, "n": 2}, 120_000),
        (BY_OUTPUT, {"num_outputs": None, "n": 4}, 120_000),
        (BY_OUTPUT, {"num_images": 10, "num_outputs": 1e-7}, None),
        (BY_OUTPUT, {"num_outputs": "many"}, None),
        (BY_OUTPUT, {"number_of_images": 4}, 30_000),
        (Price(PriceUnit.SECOND, MicroUsd(0)), {"duration": 5}, 0),
        (Price(PriceUnit.SECOND, MicroUsd(10**9)), {"duration": 10**6, "n": 10**6}, 10**15),
    ],
)
def test_the_estimate_is_rate_times_the_largest_quantity_or_nothing(
    price: Price | None, value: dict[str, Any], micro_usd: int | None
) -> None:
    assert estimate(price, value) == micro_usd


def test_an_absent_quantity_is_its_default() -> None:
    assert estimate(BY_SECOND, {}, Defaults({"duration": 10})) == 500_000
    assert estimate(BY_OUTPUT, {}, Defaults({"num_images": 4})) == 120_000


@pytest.mark.parametrize(
    ("bounds", "given", "micro_usd"),
    [
        ({"maximum": 15}, None, 750_000),
        ({"enum": ["5", "10", "auto"]}, "auto", 500_000),
        ({"enum": ["5", "10", "auto"]}, "5", 250_000),
        ({"minimum": -1, "maximum": 12}, -1, 600_000),
        ({"enum": ["short", "long"]}, "long", None),
    ],
)
def test_what_runcomfy_chooses_is_reserved_at_the_schemas_largest(
    bounds: dict[str, Any], given: object, micro_usd: int | None
) -> None:
    quantities = schema_of("duration", **bounds)
    assert quantities[0].error(given) is None
    assert estimate(BY_SECOND, {"duration": given}, quantities=quantities) == micro_usd


def test_fractions_of_a_micro_dollar_are_rounded_up() -> None:
    price = Price(PriceUnit.SECOND, MicroUsd(3), (Surcharge("x", 1, MicroUsd(5)),))
    assert price.at_base_rate(MicroUsd(4)).surcharges[0].rate == 7


SURCHARGES = (
    Surcharge("audio", value=True, rate=MicroUsd(70_000)),
    Surcharge("size", "4K", MicroUsd(90_000)),
)


DEAR = Price(PriceUnit.SECOND, MicroUsd(50_000), SURCHARGES)


@pytest.mark.parametrize(
    ("value", "micro_usd"),
    [
        ({}, 700_000),
        ({"audio": True}, 700_000),
        ({"audio": None}, 700_000),
        ({"audio": False}, 500_000),
        ({"audio": False, "size": "4K"}, 900_000),
        ({"audio": True, "size": "4K"}, 700_000),
        ({"audio": False, "size": "2K"}, 500_000),
    ],
)
def test_the_first_surcharge_that_fits_takes_the_rates_place(
    value: dict[str, Any], micro_usd: int
) -> None:
    defaults = Defaults({"duration": 10, "audio": True})
    assert estimate(DEAR, value, defaults) == micro_usd


@pytest.mark.parametrize(
    ("base", "rates"),
    [
        (50_000, (50_000, 70_000, 90_000)),
        (70_000, (70_000, 70_000, 90_000)),
        (100_000, (100_000, 140_000, 180_000)),
        (0, (0, 0, 0)),
    ],
)
def test_surcharges_move_with_a_base_rate_that_is_new(base: int, rates: tuple[int, ...]) -> None:
    moved = DEAR.at_base_rate(MicroUsd(base))
    assert (moved.rate, *(one.rate for one in moved.surcharges)) == rates
