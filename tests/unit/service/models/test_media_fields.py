from typing import Any

import pytest

from service.models.media import (
    FORMATS,
    MAX_MEDIA_BYTES,
    MediaField,
    MediaKind,
    media_errors,
    media_fields,
)

IMAGE_BOUND = MAX_MEDIA_BYTES[MediaKind.IMAGE]


def found(field: dict[str, Any]) -> list[MediaField]:
    return list(media_fields({"properties": {"x": field}}))


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
    ("validations", "bound"),
    [
        ([{"validation_rule": "file_size_mb<", "validation_value": 30}], 30 * 2**20),
        ([{"validation_rule": "file_size_mb<", "validation_value": 0.5}], 2**19),
        ([{"validation_rule": "file_size_mb<", "validation_value": 500}], IMAGE_BOUND),
        ([{"validation_rule": "file_size_mb<", "validation_value": "30"}], IMAGE_BOUND),
        ([{"validation_rule": "width<", "validation_value": 30}], IMAGE_BOUND),
        (["file_size_mb<"], IMAGE_BOUND),
        ("file_size_mb<", IMAGE_BOUND),
    ],
)
def test_runcomfys_own_size_rule_binds_data_uris(validations: object, bound: int) -> None:
    (field,) = found({"format": "image_uri", "validations": validations})
    assert field.max_bytes == bound


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


def test_an_empty_string_passes_only_where_it_is_runcomfys_own_default() -> None:
    (optional,) = found({"format": "image_uri", "default": ""})
    (needed,) = found({"format": "image_uri"})
    assert list(media_errors((optional,), {"x": ""})) == []
    assert len(list(media_errors((needed,), {"x": ""}))) == 1
    assert len(list(media_errors((optional,), {"x": "no"}))) == 1
