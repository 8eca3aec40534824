"""Models: cards, catalogue, validation of inputs, prices. Knows no HTTP and no store."""

from service.models.card import (
    SEED,
    CardSource,
    ModelCard,
    estimate_cost,
    load_cards,
    validate_input,
)
from service.models.catalogue_entry import MAX_MODEL_ID_LENGTH, MODEL_ID_PATTERN, is_model_id
from service.models.registry import (
    CATALOGUE_MAX_AGE,
    ModelPage,
    ModelQuery,
    ModelRegistry,
)

__all__ = [
    "CATALOGUE_MAX_AGE",
    "MAX_MODEL_ID_LENGTH",
    "MODEL_ID_PATTERN",
    "SEED",
    "CardSource",
    "ModelCard",
    "ModelPage",
    "ModelQuery",
    "ModelRegistry",
    "estimate_cost",
    "is_model_id",
    "load_cards",
    "validate_input",
]
