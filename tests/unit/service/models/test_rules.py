from typing import Any

import pytest

from core.deduplication.fingerprint import NO_DEFAULTS, Defaults
from service.models.rules import RULES, SumEquals, parse_rule

RULE = SumEquals("scenes", "length", "total")
DEFAULTS = Defaults({"total": 10}, {"scenes": Defaults(items=Defaults({"length": 5}))})


@pytest.mark.parametrize(
    ("value", "fits"),
    [
        ({}, True),
        ({"scenes": []}, True),
        ({"scenes": None}, True),
        ({"scenes": [], "total": 3}, True),
        ({"scenes": [{}, {}]}, True),
        ({"scenes": [{}]}, False),
        ({"scenes": [{}], "total": 5}, True),
        ({"scenes": [{"length": 4}, {"length": 6}]}, True),
        ({"scenes": [{"length": 4.0}, {"length": 6}], "total": 10.0}, True),
        ({"scenes": [{"length": None}, {"length": 5}], "total": None}, True),
        ({"scenes": [{"length": 4}, {"length": 7}]}, False),
        ({"scenes": [{"length": 11}, {"length": -1}]}, True),
    ],
)
def test_the_parts_sum_to_the_total(value: dict[str, Any], *, fits: bool) -> None:
    assert (RULE.check(value, DEFAULTS) is None) is fits


def test_the_error_says_both_figures() -> None:
    error = RULE.check({"scenes": [{"length": 4}]}, DEFAULTS)
    assert error
    assert error.path == "/scenes"
    assert error.message == "the sum of each length is 4 and must be total, 10"


def test_without_defaults_absent_figures_count_nothing() -> None:
    assert RULE.check({"scenes": [{"length": 4}], "total": 4}, NO_DEFAULTS) is None
    assert RULE.check({"scenes": [{}], "total": 4}, NO_DEFAULTS)


def test_a_card_names_a_rule_and_its_arguments() -> None:
    document = {"rule": "sum_equals", "parts": "scenes", "part": "length", "total": "total"}
    assert parse_rule(document) == RULE
    assert set(RULES) == {"sum_equals"}


@pytest.mark.parametrize(
    ("document", "error"),
    [({"rule": "sum_is"}, KeyError), ({"rule": "sum_equals", "part": "x"}, TypeError)],
)
def test_a_mistake_in_a_card_of_ours_is_not_passed_over(
    document: dict[str, str], error: type[Exception]
) -> None:
    with pytest.raises(error):
        parse_rule(document)
