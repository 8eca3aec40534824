"""Forms of schemas: whatever a catalogue has, a form shows it and sends back no less."""

from typing import Any

import pytest

from service.console.schema_form import (
    MAX_ROWS,
    PREFIX,
    WidgetKind,
    filled,
    parse_object,
    widgets,
)


@pytest.mark.parametrize(
    ("part", "kind"),
    [
        ({"type": ["integer", "null"], "minimum": 1, "maximum": 3}, WidgetKind.SLIDER),
        ({"type": ["string", "null"]}, WidgetKind.TEXT),
        ({"type": "array", "items": True}, WidgetKind.JSON),
        ({"type": "array"}, WidgetKind.JSON),
        ({"format": ["odd"]}, WidgetKind.JSON),
        ({}, WidgetKind.JSON),
    ],
)
def test_a_schema_of_an_odd_form_is_shown(part: dict[str, Any], kind: WidgetKind) -> None:
    (widget,) = widgets({"properties": {"field": part}}, {})
    assert widget.kind is kind


@pytest.mark.parametrize("number", [1, MAX_ROWS - 1, MAX_ROWS, MAX_ROWS + 5])
def test_no_row_of_an_input_is_lost_when_it_is_sent_again(number: int) -> None:
    item = {"type": "object", "properties": {"prompt": {"type": "string"}}}
    schema = {"properties": {"shots": {"type": "array", "items": item}}}
    given = {"shots": [{"prompt": f"shot {n}"} for n in range(number)]}
    (widget,) = widgets(schema, given)
    fields = {widget.name: [str(widget.value)]} if widget.kind is WidgetKind.JSON else {}
    fields |= {one.name: [one.value] for row in widget.rows for one in row if one.value}
    assert parse_object(schema, fields) == given
    assert widget.name == f"{PREFIX}shots"


def test_the_input_of_a_form_has_the_defaults_that_it_shows() -> None:
    parts = {"a": {"default": 3}, "b": {"default": None}, "c": {}, "d": {"default": 1}}
    assert filled({"properties": parts}, {"d": 2}) == {"a": 3, "d": 2}
    assert filled({}, {"x": 1}) == {"x": 1}
