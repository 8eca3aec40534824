"""The models: cards, catalogue, validation of inputs, prices. Knows no HTTP and no store."""

from service.models.card import SEED, ModelCard, Source, estimate, load_cards, validate_input
from service.models.catalogue_entry import MODEL_ID_PATTERN, MOST_ID_CHARS, is_model_id
from service.models.registry import FRESH_FOR, Known, ModelPage, ModelQuery, Models, Unvalidated

__all__ = [
    "FRESH_FOR",
    "MODEL_ID_PATTERN",
    "MOST_ID_CHARS",
    "SEED",
    "Known",
    "ModelCard",
    "ModelPage",
    "ModelQuery",
    "Models",
    "Source",
    "Unvalidated",
    "estimate",
    "is_model_id",
    "load_cards",
    "validate_input",
]
