"""Prices and estimates."""

from typing import Any

import pytest

from core.deduplication.fingerprint import NO_DEFAULTS, Defaults
from core.money import MicroUsd
from service.models.pricing import Price, PriceUnit, Surcharge, estimate_price
from tests.support.models import BY_OUTPUT, BY_SECOND


@pytest.mark.parametrize(
    ("price", "value", "micro_usd"),
    [
        (None, {"duration": 5}, None),
        (BY_SECOND, {"duration": 5}, 250_000),
        (BY_SECOND, {"duration": 5.0}, 250_000),
        (BY_SECOND, {"duration": 2.5}, 125_000),
        (BY_SECOND, {"duration": "5"}, 250_000),
        (BY_SECOND, {"duration": "8s"}, 400_000),
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
        (BY_OUTPUT, {"num_outputs": 2, "n": 4}, 60_000),
        (BY_OUTPUT, {"num_outputs": None, "n": 4}, 120_000),
        (BY_OUTPUT, {"num_outputs": "many"}, None),
        (Price(PriceUnit.SECOND, MicroUsd(0)), {"duration": 5}, 0),
    ],
)
def test_the_estimate_is_rate_times_quantity_or_nothing(
    price: Price | None, value: dict[str, Any], micro_usd: int | None
) -> None:
    assert estimate_price(price, value, NO_DEFAULTS) == micro_usd


def test_an_absent_quantity_is_its_default() -> None:
    assert estimate_price(BY_SECOND, {}, Defaults({"duration": 10})) == 500_000
    assert estimate_price(BY_OUTPUT, {}, Defaults({"num_images": 4})) == 120_000


def test_fractions_of_a_micro_dollar_are_rounded_up() -> None:
    assert estimate_price(Price(PriceUnit.SECOND, MicroUsd(1)), {"duration": 2.5}, NO_DEFAULTS) == 3


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
    assert estimate_price(DEAR, value, defaults) == micro_usd
