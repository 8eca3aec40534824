import pytest

from simulator.runcomfy.catalogue import load_catalogue
from simulator.runcomfy.input_check import validate_input
from simulator.script import Json

MODELS = load_catalogue()
KLING = "kling/kling-3.0/standard/image-to-video"
GOOD: Json = {"prompt": "x", "start_image_url": "https://example.org/a.png"}


@pytest.mark.parametrize(
    ("more", "kinds"),
    [
        ({}, []),
        ({"cfg_scale": 1, "unknown": 5, "negative_prompt": None}, []),
        ({"duration": 2}, ["too_small"]),
        ({"duration": 3.5}, ["integer_type"]),
        ({"duration": True}, ["integer_type"]),
        ({"generate_audio": "yes"}, ["boolean_type"]),
        ({"shot_type": "wide"}, ["enum"]),
        ({"elements": [{}] * 4}, ["too_large"]),
        ({"prompt": None, "cfg_scale": 2}, ["missing", "too_large"]),
    ],
)
def test_kling(more: Json, kinds: list[str]) -> None:
    found = validate_input(GOOD | more, MODELS[KLING].card["input_schema"])
    assert [fault["type"] for fault in found] == kinds


def test_a_required_name_that_is_no_property_is_not_enforced() -> None:
    schema = MODELS["atelier/retouch-1/edit"].card["input_schema"]
    assert "image" in schema["required"]
    assert "image" not in schema["properties"]
    assert validate_input({"prompt": "x"}, schema) == []


@pytest.mark.parametrize("model_id", list(MODELS))
def test_every_model_has_a_product_and_a_price_if_one_is_known(model_id: str) -> None:
    is_known = MODELS[model_id].card["base_price_usd"] is not None
    assert (MODELS[model_id].price_of({}) > 0) is is_known
    assert MODELS[model_id].product_of({}).count == 1
