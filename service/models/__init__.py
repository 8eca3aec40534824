"""Models: cards, catalogue, validation of inputs, prices. Knows no HTTP and no store."""

from service.models.card import (
    CardSource,
    ModelCard,
    estimate_input,
    load_cards,
    pins_seed,
    validate_input,
)
from service.models.media.fields import MediaField
from service.models.media.named_files import NO_NAMED_FILES, NamedFiles
from service.models.media.source_parts import find_source_parts
from service.models.pricing import InputEstimate
from service.models.registry import (
    ModelQuery,
    ModelRegistry,
    UnlistedPolicy,
)

__all__ = [
    "NO_NAMED_FILES",
    "CardSource",
    "InputEstimate",
    "MediaField",
    "ModelCard",
    "ModelQuery",
    "ModelRegistry",
    "NamedFiles",
    "UnlistedPolicy",
    "estimate_input",
    "find_source_parts",
    "load_cards",
    "pins_seed",
    "validate_input",
]
