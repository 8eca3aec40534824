"""The Kling card against the API page, the source of every figure here."""

from typing import Any

import pytest

from core.deduplication.fingerprint import Defaults, fingerprint
from core.errors import InvalidInput
from service.models import CardSource, ModelCard, estimate_input, load_cards, validate_input

Input = dict[str, Any]


def fields_at_fault(card: ModelCard, value: object) -> dict[str, str]:
    try:
        validate_input(card, value)
    except InvalidInput as error:
        return {field.path: field.message for field in error.fields}
    return {}


def test_every_card_of_ours_is_whole() -> None:
    cards = load_cards()
    assert cards
    for card in cards:
        assert card.remarks == ()
        assert card.source is CardSource.LOCAL
        assert card.checks
        assert card.price
        assert fields_at_fault(card, card.representation()["sample"]) == {}


def test_the_pages_own_request_is_accepted(kling: ModelCard, sample: Input) -> None:
    assert set(sample) == {"prompt", "start_image_url"}
    assert fields_at_fault(kling, sample) == {}


def test_the_document_has_runcomfys_shape_and_our_sample(kling: ModelCard) -> None:
    assert set(kling.representation()) == {
        *("model_id", "display_name", "kind", "categories", "base_price_usd", "price_unit"),
        *("pricing_note", "input_schema", "output_schema", "description", "media_note", "sample"),
    }
    assert {"input_schema", "output_schema"}.isdisjoint(kling.representation(include_schema=False))


def test_the_schema_is_shown_as_runcomfy_writes_it_quirks_included(kling: ModelCard) -> None:
    schema: Any = kling.representation()["input_schema"]
    assert schema["required"] == ["prompt", "start_image_url"]
    assert list(schema["properties"]) == [
        *("prompt", "multi_prompt", "start_image_url", "duration", "generate_audio"),
        *("elements", "shot_type", "negative_prompt", "cfg_scale"),
    ]
    assert schema["properties"]["cfg_scale"]["type"] == "float"
    output: Any = kling.representation()["output_schema"]
    assert set(output["output"]["properties"]) == {"image", "images", "video", "videos"}


def test_defaults_are_those_of_optional_fields(kling: ModelCard) -> None:
    assert kling.defaults == Defaults(
        values={"duration": 10, "generate_audio": True, "shot_type": "customize", "cfg_scale": 0.5},
        nested={"multi_prompt": Defaults(items=Defaults({"duration": 5}))},
    )


IMAGE = "https://cdn.example.com/cat.jpg"
CLIP = "https://cdn.example.com/cat.mp4"


@pytest.mark.parametrize(
    "change",
    [
        {"duration": 3},
        {"duration": 15},
        {"duration": 10.0},
        {"duration": None},
        {"elements": None, "cfg_scale": None, "multi_prompt": [{"duration": None}, {}]},
        {"elements": [{"frontal_image_url": "", "video_url": None}]},
        {"start_image_url": "https://cdn.example.com/cat"},
        {"start_image_url": "https://cdn.example.com/cat.php?of=cat.gif"},
        {"start_image_url": "https://bücher.example/Käse.JPG"},
        {"cfg_scale": 0},
        {"cfg_scale": 1},
        {"cfg_scale": 0.25},
        {"generate_audio": False},
        {"negative_prompt": ""},
        {"shot_type": "customize"},
        {"multi_prompt": []},
        {"multi_prompt": [{}, {}]},
        {"multi_prompt": [{"prompt": "a", "duration": 7}, {"duration": 3}]},
        {"multi_prompt": [{"duration": 15}], "duration": 15},
        {"elements": []},
        {"elements": [{}, {}, {}]},
        {"elements": [{"frontal_image_url": IMAGE, "reference_image_urls": [IMAGE, IMAGE]}]},
        {"elements": [{"reference_image_urls": [], "video_url": CLIP}]},
        {"start_image_url": "data:image/webp;base64,QUJD"},
        {"prompt": "x" * 100_000},
        {"prompt": ""},
    ],
)
def test_what_the_page_allows_passes(kling: ModelCard, sample: Input, change: Input) -> None:
    assert fields_at_fault(kling, {**sample, **change}) == {}


@pytest.mark.parametrize(
    ("change", "path", "message"),
    [
        ({"duration": 2}, "/duration", "must be at least 3"),
        ({"duration": 16}, "/duration", "must be at most 15"),
        ({"duration": 5.5}, "/duration", "must be of type integer"),
        ({"duration": "10"}, "/duration", "must be of type integer"),
        ({"duration": True}, "/duration", "must be of type integer"),
        ({"cfg_scale": 1.01}, "/cfg_scale", "must be at most 1"),
        ({"cfg_scale": -0.1}, "/cfg_scale", "must be at least 0"),
        ({"cfg_scale": False}, "/cfg_scale", "must be of type number"),
        ({"generate_audio": "true"}, "/generate_audio", "must be of type boolean"),
        ({"generate_audio": 1}, "/generate_audio", "must be of type boolean"),
        ({"shot_type": "intelligent"}, "/shot_type", "must be one of customize"),
        ({"negative_prompt": 5}, "/negative_prompt", "must be of type string"),
        ({"prompt": ["x"]}, "/prompt", "must be of type string"),
        ({"prompt": None}, "/prompt", "must be of type string"),
        ({"multi_prompt": {}}, "/multi_prompt", "must be of type array"),
        ({"multi_prompt": [{}] * 21}, "/multi_prompt", "must have at most 20 items"),
        ({"multi_prompt": ["a"]}, "/multi_prompt/0", "must be of type object"),
        ({"multi_prompt": [{"duration": 2}]}, "/multi_prompt/0/duration", "must be at least 3"),
        (
            {"multi_prompt": [{}]},
            "/multi_prompt",
            "the sum of each duration is 5 and must be duration, 10",
        ),
        (
            {"multi_prompt": [{"duration": 5}, {"duration": 5}], "duration": 12},
            "/multi_prompt",
            "the sum of each duration is 10 and must be duration, 12",
        ),
        (
            {"multi_prompt": [{"length": 5}]},
            "/multi_prompt/0/length",
            "is not a field of this model",
        ),
        ({"elements": [{}] * 4}, "/elements", "must have at most 3 items"),
        (
            {"elements": [{"video": CLIP}]},
            "/elements/0/video",
            "is not a field of this model; did you mean video_url?",
        ),
        ({"seed": 1}, "/seed", "is not a field of this model"),
        (
            {"Duration": 5},
            "/Duration",
            "is not a field of this model; did you mean duration?",
        ),
    ],
)
def test_what_the_page_does_not_allow_is_refused_with_its_path(
    kling: ModelCard, sample: Input, change: Input, path: str, message: str
) -> None:
    assert fields_at_fault(kling, {**sample, **change}) == {path: message}


@pytest.mark.parametrize("name", ["prompt", "start_image_url"])
def test_the_default_of_a_required_field_is_a_sample_and_never_filled_in(
    kling: ModelCard, sample: Input, name: str
) -> None:
    del sample[name]
    assert fields_at_fault(kling, sample) == {f"/{name}": "is required"}


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"start_image_url": "http://169.254.169.254/"}, "/start_image_url"),
        ({"start_image_url": "http://cdn.example.com/cat.jpg"}, "/start_image_url"),
        ({"start_image_url": ""}, "/start_image_url"),
        ({"start_image_url": "data:image/gif;base64,QUJD"}, "/start_image_url"),
        ({"start_image_url": "data:video/mp4;base64,QUJD"}, "/start_image_url"),
        ({"start_image_url": "data:image/png;base64,R0lGODlhAQABAAAA"}, "/start_image_url"),
        ({"start_image_url": "https://cdn.example.com/cat.gif"}, "/start_image_url"),
        ({"start_image_url": "https://cdn.example.com/cat.MP4?x=1"}, "/start_image_url"),
        ({"start_image_url": None}, "/start_image_url"),
        ({"elements": [{}, {"frontal_image_url": "x"}]}, "/elements/1/frontal_image_url"),
        ({"elements": [{"video_url": "https://10.0.0.1/"}]}, "/elements/0/video_url"),
        (
            {"elements": [{"reference_image_urls": [IMAGE, "https://localhost/"]}]},
            "/elements/0/reference_image_urls/1",
        ),
    ],
)
def test_media_are_judged_wherever_they_stand(
    kling: ModelCard, sample: Input, change: Input, path: str
) -> None:
    assert list(fields_at_fault(kling, {**sample, **change})) == [path]


def test_rules_and_media_are_told_together(kling: ModelCard, sample: Input) -> None:
    value = {**sample, "multi_prompt": [{}], "start_image_url": "https://localhost/"}
    assert set(fields_at_fault(kling, value)) == {"/multi_prompt", "/start_image_url"}


def test_many_wrong_media_make_few_errors(kling: ModelCard, sample: Input) -> None:
    wrong = [{"reference_image_urls": ["x"] * 100}]
    assert len(fields_at_fault(kling, {**sample, "elements": wrong})) == 20


@pytest.mark.parametrize("value", [None, [], "prompt", 5, True])
def test_an_input_is_an_object(kling: ModelCard, value: object) -> None:
    assert fields_at_fault(kling, value) == {"": "must be of type object"}


def nested(levels: int) -> Input:
    value: Input = {}
    for _ in range(levels):
        value = {"x": value}
    return value


@pytest.mark.parametrize("levels", [66, 1_000, 50_000])
def test_deep_nesting_is_refused_with_or_without_a_card(kling: ModelCard, levels: int) -> None:
    for card in (kling, None):
        with pytest.raises(InvalidInput) as caught:
            validate_input(card, nested(levels))
        assert caught.value.fields[0].message == "must not be nested deeper than 64 levels"


def test_without_a_card_whatever_is_an_object_passes_unpriced() -> None:
    validate_input(None, {"anything": [1]})
    assert estimate_input(None, {"duration": 5}).cost is None


def test_the_detail_says_the_first_fault_and_how_many_more(kling: ModelCard, sample: Input) -> None:
    with pytest.raises(InvalidInput) as caught:
        validate_input(kling, {**sample, "duration": 2, "seed": 1})
    assert str(caught.value) == (
        "The input does not fit the model: /duration must be at least 3 (and 1 more)."
    )


@pytest.mark.parametrize(
    ("change", "micro_usd"),
    [
        ({}, 1_260_000),
        ({"generate_audio": True}, 1_260_000),
        ({"generate_audio": False}, 840_000),
        ({"duration": 3}, 378_000),
        ({"duration": 15, "generate_audio": False}, 1_260_000),
        ({"duration": 5.0}, 630_000),
        ({"multi_prompt": [{}, {}]}, 1_260_000),
    ],
)
def test_the_price_is_by_the_second_and_more_with_audio(
    kling: ModelCard, sample: Input, change: Input, micro_usd: int
) -> None:
    assert estimate_input(kling, {**sample, **change}).cost == micro_usd


def test_spelling_the_defaults_out_makes_no_other_request(kling: ModelCard, sample: Input) -> None:
    spelled = {**sample, "duration": 10.0, "generate_audio": True, "cfg_scale": 0.5}
    silent = {**sample, "generate_audio": False}
    prints = [
        fingerprint(kling.model_id, value, kling.defaults) for value in (sample, spelled, silent)
    ]
    assert prints[0] == prints[1] != prints[2]
