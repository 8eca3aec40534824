"""RunComfy's catalogue as model cards: read tolerantly, from the bytes that the worker kept."""

import re
from typing import Final

import orjson

from service.models.card import CardSource, ModelCard, parse_card

# It becomes part of a URL: no segment may be `.` or `..`.
_SEGMENT: Final = r"(?!\.{1,2}(?:/|$))[A-Za-z0-9._-]+"
MODEL_ID_PATTERN: Final = f"{_SEGMENT}(?:/{_SEGMENT})*"
MAX_MODEL_ID_LENGTH: Final = 256
_MODEL_ID: Final = re.compile(MODEL_ID_PATTERN)


def is_model_id(text: str) -> bool:
    """Whether `text` can be a model's id: names separated by slashes."""
    return len(text) <= MAX_MODEL_ID_LENGTH and _MODEL_ID.fullmatch(text) is not None


def parse_catalogue_card(document: bytes) -> ModelCard | None:
    """One model of the catalogue, from its JSON; None where it is no object with a sound id."""
    try:
        shown = orjson.loads(document)
    except orjson.JSONDecodeError:
        return None
    model_id = shown.get("model_id") if isinstance(shown, dict) else None
    if not isinstance(model_id, str) or not is_model_id(model_id):
        return None
    return parse_card(model_id, shown, CardSource.CATALOGUE)
