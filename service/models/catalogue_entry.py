"""Parses the catalogue's documents, which a worker stored, into model cards."""

import re
from typing import Final

import orjson

from service.models.card import CardSource, ModelCard, parse_card

# An id becomes part of a URL: `.` and `..` would change its path.
_SEGMENT: Final = r"(?!\.{1,2}(?:/|$))[A-Za-z0-9._-]+"
MODEL_ID_PATTERN: Final = f"{_SEGMENT}(?:/{_SEGMENT})*"
MAX_MODEL_ID_LENGTH: Final = 256
_MODEL_ID: Final = re.compile(MODEL_ID_PATTERN)


def is_model_id(text: str) -> bool:
    """Return whether `text` is a well-formed model id: names separated by slashes."""
    return len(text) <= MAX_MODEL_ID_LENGTH and _MODEL_ID.fullmatch(text) is not None


def parse_catalogue_card(document: bytes) -> ModelCard | None:
    """Parse one catalogue document; None if it is not an object with a well-formed id."""
    try:
        entry = orjson.loads(document)
    except orjson.JSONDecodeError:
        return None
    model_id = entry.get("model_id") if isinstance(entry, dict) else None
    if not isinstance(model_id, str) or not is_model_id(model_id):
        return None
    return parse_card(model_id, entry, CardSource.CATALOGUE)
