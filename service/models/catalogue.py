"""RunComfy's catalogue as model cards: read tolerantly, from the bytes that the worker kept."""

import re
from typing import Final

import orjson

from service.models.card import ModelCard, Source, read_card

_MODEL_ID: Final = re.compile(r"[A-Za-z0-9._-]+(?:/[A-Za-z0-9._-]+)*")
_MOST_ID_CHARS: Final = 256


def is_model_id(text: str) -> bool:
    """Whether `text` can be a model's id: it becomes part of a URL, so no `.` or `..` segments."""
    return (
        len(text) <= _MOST_ID_CHARS
        and _MODEL_ID.fullmatch(text) is not None
        and {".", ".."}.isdisjoint(text.split("/"))
    )


def catalogue_card(document: bytes) -> ModelCard | None:
    """One model of the catalogue, from its JSON; None where it is no object with a sound id."""
    try:
        shown = orjson.loads(document)
    except orjson.JSONDecodeError:
        return None
    model_id = shown.get("model_id") if isinstance(shown, dict) else None
    if not isinstance(model_id, str) or not is_model_id(model_id):
        return None
    return read_card(model_id, shown, Source.CATALOGUE)
