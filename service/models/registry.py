"""The registry of models: an immutable set of cards with look-up, search and pages.

The gateway's own cards take precedence over RunComfy's catalogue.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Annotated, Final, Self

from pydantic import ConfigDict, Field, model_validator

from core.errors import MalformedRequest, UnknownModel
from service.models.card import ModelCard
from service.models.catalogue_entry import is_model_id, parse_catalogue_card
from service.parsing.fields import UNREADABLE_OPTION, InvalidField
from service.parsing.request_models import FlagOption, RequestModel, WholeNumberOption

MAX_PAGE_SIZE: Final = 100
MAX_OFFSET: Final = 999_999_999
# RunComfy adds models daily: after some missed syncs a missing model may still exist.
CATALOGUE_MAX_AGE: Final = timedelta(hours=3)


class ModelQuery(RequestModel):
    """Filters and page of the model list, by RunComfy's own parameters.

    As with RunComfy an unknown option has no effect.
    """

    model_config = ConfigDict(extra="ignore")

    @model_validator(mode="before")
    @classmethod
    def _is_readable(cls, options: dict[str, object]) -> dict[str, object]:
        if UNREADABLE_OPTION in options:  # this model does not forbid it
            raise InvalidField("is not readable")
        return options

    search: str = Field("", description="Words that the id or the name must contain.")
    category: str = Field("", description="A category.")
    kind: str = Field("", description="A kind, such as `video`.")
    limit: Annotated[int, WholeNumberOption(1, MAX_PAGE_SIZE)] = Field(50, description="Page size.")
    offset: Annotated[int, WholeNumberOption(0, MAX_OFFSET)] = Field(
        0, description="Number of models to skip."
    )
    include_schema: FlagOption = Field(default=False, description="Include the schemas.")


@dataclass(frozen=True, slots=True)
class ModelPage:
    """One page of the list; `total` counts all matches."""

    cards: tuple[ModelCard, ...]
    total: int
    query: ModelQuery

    def representation(self) -> dict[str, object]:
        """Return the response of `GET /v1/models`."""
        return {
            "models": [
                card.representation(include_schema=self.query.include_schema) for card in self.cards
            ],
            "total": self.total,
            "limit": self.query.limit,
            "offset": self.query.offset,
        }


@dataclass(frozen=True, slots=True)
class ModelRegistry:
    """The cards by id, sorted; `synced_at` is None until a catalogue has been read.

    `cards_by_document` lets the next registry reuse the cards of unchanged documents.
    """

    local_cards: tuple[ModelCard, ...]
    by_id: Mapping[str, ModelCard]
    synced_at: datetime | None
    cards_by_document: Mapping[bytes, ModelCard | None] = field(repr=False)
    max_age: timedelta = CATALOGUE_MAX_AGE

    @classmethod
    def build(
        cls,
        local_cards: Iterable[ModelCard],
        documents: Iterable[bytes] = (),
        synced_at: datetime | None = None,
        *,
        max_age: timedelta = CATALOGUE_MAX_AGE,
        known_cards: Mapping[bytes, ModelCard | None] | None = None,
    ) -> Self:
        """Build a registry of own cards and of the catalogue's documents (one JSON per model).

        Compiles about a thousand schemas a second: call it in a thread for a new catalogue.
        """
        known = known_cards or {}
        sources = {
            document: known[document] if document in known else parse_catalogue_card(document)
            for document in documents
        }
        ours = tuple(local_cards)
        cards = {card.model_id: card for card in (*filter(None, sources.values()), *ours)}
        by_id = MappingProxyType(dict(sorted(cards.items())))
        return cls(ours, by_id, synced_at, MappingProxyType(sources), max_age)

    def with_catalogue(self, documents: Iterable[bytes], synced_at: datetime) -> "ModelRegistry":
        """Return a registry with a newer catalogue; cards of unchanged documents are reused."""
        return ModelRegistry.build(
            self.local_cards,
            documents,
            synced_at,
            max_age=self.max_age,
            known_cards=self.cards_by_document,
        )

    @property
    def unreadable_count(self) -> int:
        """The number of catalogue documents that could not be parsed."""
        return sum(card is None for card in self.cards_by_document.values())

    def lookup(self, model_id: str, now: datetime) -> ModelCard | None:
        """Return the model's card; None: it is not known, and submits pass unchecked.

        Without a fresh catalogue an unknown model may exist: RunComfy rejects one that does not
        without charge, and an outage of the sync must not hide a new model. Raises `UnknownModel`
        while the catalogue is fresh, and `MalformedRequest` for a malformed id.
        """
        card = self.by_id.get(model_id)
        if card:
            return card
        if not is_model_id(model_id):
            raise MalformedRequest("That is not a model id: names in ASCII, separated by slashes.")
        if self.is_fresh(now):
            raise UnknownModel(f"No model {model_id} is known; see GET /v1/models.")
        return None

    def is_fresh(self, now: datetime) -> bool:
        """Return whether the catalogue is recent enough to prove that a model does not exist."""
        return self.synced_at is not None and now - self.synced_at < self.max_age

    def card(self, model_id: str) -> ModelCard:
        """Return the card of an id. Raises `UnknownModel`, even if a submit would pass."""
        if model_id not in self.by_id:
            raise UnknownModel
        return self.by_id[model_id]

    def page(self, query: ModelQuery) -> ModelPage:
        """Return a page of the matching models, by id."""
        found = [card for card in self.by_id.values() if _matches(card, query)]
        cards = tuple(found[query.offset : query.offset + query.limit])
        return ModelPage(cards, len(found), query)

    def categories_representation(self) -> dict[str, object]:
        """Return the response of `GET /v1/models/categories`: all categories, sorted."""
        return {
            "categories": sorted({name for card in self.by_id.values() for name in card.categories})
        }


def _matches(card: ModelCard, query: ModelQuery) -> bool:
    words = query.search.casefold().split()
    text = f"{card.model_id} {card.display_name}".casefold()
    return (
        all(word in text for word in words)
        and query.category in ("", *card.categories)
        and query.kind in ("", card.kind)
    )
