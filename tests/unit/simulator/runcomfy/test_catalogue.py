"""RunComfy's models as far as they are known: traps, prices, the gateway's view of them."""

from typing import Any, Final

import pytest

from core.errors import InvalidInput
from service.models import CardSource, ModelCard, estimate_input, load_cards, validate_input
from service.models.card import overlay_card, parse_card
from simulator.runcomfy.catalogue import SimulatedModel, load_catalogue
from simulator.runcomfy.input_check import validate_input as runcomfy_faults

URL: Final = "https://media.example.com/input.png"
MODELS: Final = load_catalogue()
TRAPS: Final = [
    # What a neighbouring model calls otherwise.
    ("kling/kling-3.0/pro/image-to-video", "generate_audio", "sound"),
    ("kling/kling-3.0/pro/text-to-video", "sound", "generate_audio"),
    ("kling/kling-video-o3/4K/image-to-video", "sound", "generate_audio"),
    ("google/nano-banana-2/edit", "number_of_images", "num_images"),
    ("google/nano-banana-2/text-to-image", "num_images", "number_of_images"),
    ("bytedance/seedream-4-0/sequential", "text", "prompt"),
    ("bytedance/seedream-4-0/text-to-image", "prompt", "text"),
    ("wan-ai/wan-2-6/image-to-video", "img_url", "image_url"),
    ("kling/kling-video-o3/pro/image-to-video", "image", "start_image_url"),
]


@pytest.mark.parametrize(("model_id", "known", "other"), TRAPS)
def test_the_same_setting_has_different_names(model_id: str, known: str, other: str) -> None:
    fields = MODELS[model_id].card["input_schema"]["properties"]
    assert known in fields
    assert other not in fields


def test_no_id_is_guessed() -> None:
    unseen = ("minimax/hailuo-2-3/fast", "blackforestlabs", "wan-ai/wan-2-6/text-to-video")
    assert [model_id for model_id in MODELS if model_id.startswith(unseen)] == []


def sample_of(model: SimulatedModel) -> dict[str, Any]:
    """An input with the required fields."""
    by_type = {"string": "x", "array": [URL], "integer": 5, "boolean": True}
    properties = model.card["input_schema"]["properties"]
    sample = {
        name: by_type[properties[name]["type"]]
        for name in model.card["required_inputs"]
        if name in properties
    }
    return {
        name: URL if "image" in name and value == "x" else value for name, value in sample.items()
    }


@pytest.mark.parametrize("model_id", list(MODELS))
def test_the_gateway_understands_every_model(model_id: str) -> None:
    model = MODELS[model_id]
    card = parse_card(model_id, model.card, CardSource.CATALOGUE)
    sample = sample_of(model)
    validate_input(card, sample)
    assert runcomfy_faults(sample, model.card["input_schema"]) == []


@pytest.mark.parametrize(
    ("model_id", "settings", "usd"),
    [
        ("kling/kling-3.0/pro/image-to-video", {}, 1.68),
        ("kling/kling-3.0/pro/image-to-video", {"generate_audio": False, "duration": 5}, 0.56),
        ("kling/kling-3.0/4k/image-to-video", {"duration": 3}, 1.26),
        ("kling/kling-3.0/4k/image-to-video", {"duration": 3, "generate_audio": False}, 1.26),
    ],
)
def test_the_estimate_is_what_runcomfy_charges(
    model_id: str, settings: dict[str, Any], usd: float
) -> None:
    model = MODELS[model_id]
    value = sample_of(model) | settings
    assert model.price_of(value) == round(usd * 1_000_000)
    assert estimate_input(laid_over(model), value).cost == round(usd * 1_000_000)


def test_where_no_price_is_known_none_is_estimated() -> None:
    model = MODELS["google/nano-banana-2/edit"]
    card = parse_card(model.model_id, model.card, CardSource.CATALOGUE)
    assert estimate_input(card, sample_of(model)).cost is None


def laid_over(model: SimulatedModel) -> ModelCard:
    """RunComfy's card with what the gateway's own adds."""
    own = {card.model_id: card for card in load_cards()}
    return overlay_card(own[model.model_id], model.card)


@pytest.mark.parametrize("tier", ["standard", "pro", "4k"])
def test_the_parts_of_a_kling_video_add_up(tier: str) -> None:
    model = MODELS[f"kling/kling-3.0/{tier}/image-to-video"]
    parts = [{"prompt": "a", "duration": 3}, {"prompt": "b", "duration": 4}]
    card = laid_over(model)
    validate_input(card, sample_of(model) | {"multi_prompt": parts, "duration": 7})
    with pytest.raises(InvalidInput, match="/multi_prompt"):
        validate_input(card, sample_of(model) | {"multi_prompt": parts, "duration": 8})


def test_images_are_counted_under_either_name() -> None:
    for model_id, name in (
        ("google/nano-banana-2/edit", "number_of_images"),
        ("google/nano-banana-2/text-to-image", "num_images"),
    ):
        assert MODELS[model_id].product_of({name: 3}).count == 3
