"""Tests of the comparison of two catalogues."""

from typing import Any

import pytest

from core.models.changes import MAX_CHANGES, ModelChangeKind, compare_catalogues
from tests.support.records import NOW

SCHEMA: dict[str, Any] = {
    "required": ["prompt"],
    "properties": {
        "prompt": {"type": "string"},
        "duration": {"type": "integer", "minimum": 3, "maximum": 15, "default": 5},
        "size": {"type": "string", "enum": ["1k", "2k"]},
    },
}
MODEL: dict[str, Any] = {
    "display_name": "One",
    "base_price_usd": 0.1,
    "price_unit": "second",
    "input_schema": SCHEMA,
}


def with_field(name: str, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON Schema
    fields = {**SCHEMA["properties"], name: {**SCHEMA["properties"].get(name, {}), **changes}}
    return {**MODEL, "input_schema": {**SCHEMA, "properties": fields}}


WITHOUT_SIZE = {name: field for name, field in SCHEMA["properties"].items() if name != "size"}


@pytest.mark.parametrize(
    ("after", "kind", "subject", "detail"),
    [
        ({"base_price_usd": 0.2}, "price_changed", "", "0.1 USD per second -> 0.2 USD per second"),
        ({"price_unit": "output"}, "price_changed", "", "0.1 USD per second -> 0.1 USD per output"),
        (with_field("seed", type="integer"), "field_added", "seed", ""),
        (
            {"input_schema": {**SCHEMA, "properties": WITHOUT_SIZE}},
            "field_removed",
            "size",
            "",
        ),
        (with_field("duration", maximum=10), "field_narrowed", "duration", "maximum 15 -> 10"),
        (with_field("duration", minimum=5), "field_narrowed", "duration", "minimum 3 -> 5"),
        (with_field("prompt", maxLength=9), "field_narrowed", "prompt", "maxLength None -> 9"),
        (with_field("size", enum=["2k", "4k"]), "field_narrowed", "size", "without ['1k']"),
        (with_field("prompt", enum=["a"]), "field_narrowed", "prompt", "options only"),
        (with_field("prompt", type="array"), "field_narrowed", "prompt", "type string -> array"),
        (
            {"input_schema": {**SCHEMA, "required": ["prompt", "size"]}},
            "field_narrowed",
            "size",
            "it became required",
        ),
        (with_field("duration", default=10), "default_changed", "duration", "5 -> 10"),
    ],
)
def test_each_change_of_a_model_has_its_kind(
    after: dict[str, Any], kind: str, subject: str, detail: str
) -> None:
    (change,) = compare_catalogues({"a/b": MODEL}, {"a/b": {**MODEL, **after}}, NOW)
    assert (change.model_id, change.kind) == ("a/b", kind)
    assert (change.subject, change.detail) == (subject, detail)


@pytest.mark.parametrize(
    "after",
    [
        {"description": "x"},
        with_field("duration", maximum=30),
        with_field("duration", title="Seconds"),
        with_field("size", enum=["1k", "2k", "4k"]),
    ],
)
def test_what_leaves_every_input_valid_and_equal_is_no_change(after: dict[str, Any]) -> None:
    assert compare_catalogues({"a/b": MODEL}, {"a/b": {**MODEL, **after}}, NOW) == ()


def test_models_are_new_gone_or_renamed() -> None:
    other = {**MODEL, "display_name": "Other"}
    changes = compare_catalogues(
        {"a/b": MODEL, "gone": other}, {"a/b-v2": MODEL, "new": {"display_name": "New"}}, NOW
    )
    assert [(one.model_id, one.kind, one.subject) for one in changes] == [
        ("a/b-v2", ModelChangeKind.RENAMED, "a/b"),
        ("new", ModelChangeKind.ADDED, ""),
        ("gone", ModelChangeKind.REMOVED, ""),
    ]


@pytest.mark.parametrize("odd", [None, 5, [], "x", {"properties": 5}, {"properties": {"x": 5}}])
def test_odd_schemas_raise_nothing(odd: object) -> None:
    for before, after in ((MODEL, {**MODEL, "input_schema": odd}), ({"input_schema": odd}, MODEL)):
        assert compare_catalogues({"a": before}, {"a": after}, NOW)


def test_their_number_is_bounded() -> None:
    many = {f"m/{number}": MODEL for number in range(MAX_CHANGES + 5)}
    assert len(compare_catalogues({}, many, NOW)) == MAX_CHANGES
