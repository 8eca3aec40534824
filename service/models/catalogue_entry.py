"""Parses the catalogue's documents, which a worker stored, into model cards."""

from collections.abc import Mapping
from typing import Final

import orjson

from core.models.ids import is_model_id
from service.models.card import CardSource, ModelCard, overlay_card, parse_card

NO_LOCAL_CARDS: Final[Mapping[str, ModelCard]] = {}


def parse_catalogue_card(
    document: bytes, local_cards: Mapping[str, ModelCard] = NO_LOCAL_CARDS
) -> ModelCard | None:
    """Parse one catalogue document; a card of `local_cards` with its id is laid over it.

    None if it is not an object with a well-formed id.
    """
    try:
        entry = orjson.loads(document)
    except orjson.JSONDecodeError:
        return None
    model_id = entry.get("model_id") if isinstance(entry, dict) else None
    if not isinstance(model_id, str) or not is_model_id(model_id):
        return None
    local = local_cards.get(model_id)
    try:
        if local is not None:
            return overlay_card(local, entry)
        return parse_card(model_id, entry, CardSource.CATALOGUE)
    except (ValueError, TypeError, RecursionError):
        # Whatever RunComfy writes into one entry, the others are served.
        return local
