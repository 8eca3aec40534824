"""Model cards for tests."""

from typing import Any

import orjson

from core.money import MicroUsd
from service.models import ModelCard
from service.models.catalogue_entry import parse_catalogue_card
from service.models.pricing import Price, PriceUnit

WHOLE: dict[str, Any] = {
    "model_id": "acme/video-1",
    "display_name": "Acme Video 1",
    "kind": "video",
    "categories": ["text-to-video", "image-to-video"],
    "base_price_usd": 0.05,
    "price_unit": "second",
    "pricing_note": "0.05 USD per second.",
    "input_schema": {
        "type": "object",
        "required": ["prompt", "image"],
        "properties": {
            "prompt": {"type": "string", "format": "str"},
            "image_url": {"type": "string", "format": "image_uri"},
            "duration": {"type": "integer", "default": 5, "maximum": 10},
            "seed": {"type": "integer", "default": None},
        },
    },
    "output_schema": {"type": "object"},
    "released": "2026-01-01",
}


def card(**changes: object) -> ModelCard:
    got = parse_catalogue_card(orjson.dumps({**WHOLE, **changes}))
    assert got
    return got


BY_SECOND = Price(PriceUnit.SECOND, MicroUsd(50_000))


BY_OUTPUT = Price(PriceUnit.OUTPUT, MicroUsd(30_000))
