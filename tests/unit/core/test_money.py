"""Amounts are exact, and text that is no amount is refused."""

from decimal import Decimal

import pytest

from core.money import from_usd


@pytest.mark.parametrize(
    ("figure", "micro"),
    [
        (0, 0),
        (1, 1_000_000),
        (0.1, 100_000),
        ("0.84", 840_000),
        (Decimal("0.000001"), 1),
        ("-0", 0),
        (-0.0, 0),
        ("1e-3", 1_000),
        ("1E-999999", 0),
        # half a micro-dollar goes to the even neighbour
        ("0.0000005", 0),
        ("0.0000015", 2),
        ("0.0000025", 2),
        ("0.00000250001", 3),
        (1_000_000_000, 10**15),
    ],
)
def test_figures_become_micro_dollars(figure: object, micro: int) -> None:
    assert from_usd(figure) == micro


@pytest.mark.parametrize(
    "figure",
    [
        None,
        True,
        False,
        "",
        "free",
        "0x10",
        "$1",
        "1,5",
        [1],
        {"usd": 1},
        b"1",
        -1,
        "-0.000001",
        float("nan"),
        float("inf"),
        float("-inf"),
        "NaN",
        "sNaN",
        "-Infinity",
    ],
)
def test_what_is_no_amount_is_none(figure: object) -> None:
    assert from_usd(figure) is None


@pytest.mark.parametrize(
    "figure",
    [
        "1E+999999",
        "1E+99999999999999999999",
        "1000000000.000001",
        1e308,
        Decimal("1E+400000"),
        "9" * 100_000,
        10**5_000,
    ],
    ids=lambda figure: type(figure).__name__,
)
def test_a_hostile_figure_is_refused_before_it_costs_memory(figure: object) -> None:
    assert from_usd(figure) is None
