"""Models: cards, catalogue, validation of inputs, prices. Knows no HTTP and no store."""

from service.models.card import (
    CardSource,
    ModelCard,
    estimate_cost,
    load_cards,
    pins_seed,
    validate_input,
)
from service.models.registry import (
    ModelPage,
    ModelQuery,
    ModelRegistry,
    UnlistedPolicy,
)

__all__ = [
    "CardSource",
    "ModelCard",
    "ModelPage",
    "ModelQuery",
    "ModelRegistry",
    "UnlistedPolicy",
    "estimate_cost",
    "load_cards",
    "pins_seed",
    "validate_input",
]
