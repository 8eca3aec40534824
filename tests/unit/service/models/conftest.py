from typing import Any

import pytest

from service.models import ModelCard, load_cards

KLING = "kling/kling-3.0/standard/image-to-video"


@pytest.fixture(scope="session")
def kling() -> ModelCard:
    """The model card of RunComfy's documented Kling model."""
    return {card.model_id: card for card in load_cards()}[KLING]


@pytest.fixture
def sample(kling: ModelCard) -> dict[str, Any]:
    """The input of the documentation's curl example; tests may change it."""
    given = kling.representation()["sample"]
    assert isinstance(given, dict)
    return dict(given)
