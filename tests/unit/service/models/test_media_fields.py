from typing import Any

import pytest

from service.models.media.content import ContentRule
from service.models.media.fields import (
    FORMATS,
    MAX_MEDIA_BYTES,
    MediaField,
    MediaKind,
    media_errors,
    media_fields,
)


def found(field: dict[str, Any]) -> list[MediaField]:
    return list(media_fields({"required": ["x"], "properties": {"x": field}}))


@pytest.mark.parametrize(("word", "kind"), FORMATS.items())
def test_every_format_word_marks_a_field(word: str, kind: MediaKind) -> None:
    assert found({"format": word}) == [MediaField(("x",), kind, MAX_MEDIA_BYTES[kind])]


def test_fields_are_found_at_every_depth() -> None:
    schema = {
        "items": {"properties": {"a": {"items": {"format": "video_uri"}}}},
        "properties": {"b": {"properties": {"c": {"format": "audio_uri"}}}},
    }
    assert {field.path for field in media_fields(schema)} == {(None, "a", None), ("b", "c")}


@pytest.mark.parametrize("schema", [None, [], True, {"properties": []}, {"format": ["image_uri"]}])
def test_odd_schemas_hold_no_media(schema: object) -> None:
    assert list(media_fields(schema)) == []


@pytest.mark.parametrize(
    ("validations", "rules"),
    [
        (
            [{"validation_rule": "file_size_mb<", "validation_value": 30}],
            (ContentRule("file_size_mb", "<", 30),),
        ),
        (
            [
                {
                    "validation_rule": "width/height >=",
                    "validation_value": 0.0625,
                    "validation_error": "The aspect ratio range should be 1:16 to 16:1.",
                }
            ],
            (
                ContentRule(
                    "width/height", ">=", 0.0625, "The aspect ratio range should be 1:16 to 16:1."
                ),
            ),
        ),
        ([{"validation_rule": "file_size_mb<", "validation_value": "30"}], ()),
        ([{"validation_rule": "file_size_mb<", "validation_value": True}], ()),
        ([{"validation_rule": "duration<", "validation_value": 30}], ()),
        (["file_size_mb<"], ()),
        ("file_size_mb<", ()),
    ],
)
def test_runcomfys_rules_of_content_are_read_and_others_left_out(
    validations: object, rules: tuple[ContentRule, ...]
) -> None:
    (field,) = found({"format": "image_uri", "validations": validations})
    assert field.rules == rules


def test_an_optional_field_may_be_empty_and_a_required_one_may_not() -> None:
    schema = {
        "required": ["x"],
        "properties": {"x": {"format": "image_uri"}, "y": {"format": "image_uri"}},
    }
    needed, optional = media_fields(schema)
    assert not needed.allows_empty
    assert optional.allows_empty
    assert list(media_errors((optional,), {"y": ""})) == []


LIST = (MediaField(("x",), MediaKind.IMAGE, 100),)


@pytest.mark.parametrize(
    ("value", "paths"),
    [
        ({}, []),
        ({"x": "https://example.com/a"}, []),
        ({"x": "no"}, ["/x"]),
        ({"x": ["https://example.com/a", "no", 5, None, ["no"]]}, ["/x/1", "/x/4/0"]),
        ({"x": None}, []),
        ({"x": 5}, []),
        ({"x": {"y": "no"}}, []),
        ([], []),
        ("no", []),
    ],
)
def test_strings_and_lists_of_them_are_judged_and_nothing_else(
    value: object, paths: list[str]
) -> None:
    assert [error.path for error in media_errors(LIST, value)] == paths


def test_an_empty_string_passes_in_a_required_field_only_as_runcomfys_own_default() -> None:
    (optional,) = found({"format": "image_uri", "default": ""})
    (needed,) = found({"format": "image_uri"})
    assert list(media_errors((optional,), {"x": ""})) == []
    assert len(list(media_errors((needed,), {"x": ""}))) == 1
    assert len(list(media_errors((optional,), {"x": "no"}))) == 1
