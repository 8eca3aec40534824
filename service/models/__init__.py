"""Models: cards, catalogue, validation of inputs, prices. Knows no HTTP and no store."""

from service.models.card import (
    CardSource,
    ModelCard,
    estimate_cost,
    load_cards,
    pins_seed,
    validate_input,
    video_ms_of,
)
from service.models.named_files import NO_NAMED_FILES, NamedFiles
from service.models.registry import (
    ModelPage,
    ModelQuery,
    ModelRegistry,
    UnlistedPolicy,
)

__all__ = [
    "NO_NAMED_FILES",
    "CardSource",
    "ModelCard",
    "ModelPage",
    "ModelQuery",
    "ModelRegistry",
    "NamedFiles",
    "UnlistedPolicy",
    "estimate_cost",
    "load_cards",
    "pins_seed",
    "validate_input",
    "video_ms_of",
]
