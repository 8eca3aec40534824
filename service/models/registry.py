"""The models that the gateway knows, as one immutable book: look-up, search, pages.

Cards of ours come before RunComfy's catalogue. Knows no store: it is handed what was synced.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final, Self

from core.errors import MalformedRequest, UnknownModel
from service.models.card import ModelCard
from service.models.catalogue_entry import is_model_id, parse_catalogue_card

MAX_PAGE_SIZE: Final = 100
# RunComfy adds models by the day: beyond some missed syncs, an absence proves nothing.
CATALOGUE_MAX_AGE: Final = timedelta(hours=3)


@dataclass(frozen=True, slots=True)
class ModelQuery:
    """What a caller asks of the list; RunComfy's own parameters. Empty means any."""

    search: str = ""
    category: str = ""
    kind: str = ""
    limit: int = 50
    offset: int = 0
    include_schema: bool = False


@dataclass(frozen=True, slots=True)
class ModelPage:
    """One page of the list, `total` counted before paging."""

    cards: tuple[ModelCard, ...]
    total: int
    query: ModelQuery

    def representation(self) -> dict[str, object]:
        """The answer of `GET /v1/models`."""
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
    """The book. `by_id` is sorted by id; `synced_at` is None where no catalogue ever came.

    `sources` holds each catalogue document's card, so that the next book need not compile it again.
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
        """A book of our cards and of the catalogue's documents (one model's JSON each).

        Compiles about a thousand schemas a second; call it in a thread when the catalogue is new.
        """
        before = known_cards or {}
        sources = {
            document: before[document] if document in before else parse_catalogue_card(document)
            for document in documents
        }
        ours = tuple(local_cards)
        cards = {card.model_id: card for card in (*filter(None, sources.values()), *ours)}
        by_id = MappingProxyType(dict(sorted(cards.items())))
        return cls(ours, by_id, synced_at, MappingProxyType(sources), max_age)

    def with_catalogue(self, documents: Iterable[bytes], synced_at: datetime) -> "ModelRegistry":
        """The same book over a newer catalogue; cards whose document is unchanged are kept."""
        return ModelRegistry.build(
            self.local_cards,
            documents,
            synced_at,
            max_age=self.max_age,
            known_cards=self.cards_by_document,
        )

    @property
    def unreadable_count(self) -> int:
        """How many documents of the catalogue were no models at all."""
        return sum(card is None for card in self.cards_by_document.values())

    def lookup(self, model_id: str, now: datetime) -> ModelCard | None:
        """Return the model's card; None: submits pass unchecked, because nobody can tell.

        That is so while there is no catalogue, or a stale one: RunComfy rejects an unknown model
        without charge, and an outage of the sync must not hide a new model. Raises `UnknownModel`
        while the catalogue is fresh, `MalformedRequest` for a malformed id.
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
        """Whether the catalogue is young enough to say that a model does not exist."""
        return self.synced_at is not None and now - self.synced_at < self.max_age

    def card(self, model_id: str) -> ModelCard:
        """The card to show for an id. Raises `UnknownModel` also where submits would go through."""
        if model_id not in self.by_id:
            raise UnknownModel
        return self.by_id[model_id]

    def page(self, query: ModelQuery) -> ModelPage:
        """The models that fit, by id. Raises `MalformedRequest` for a page that cannot be."""
        if not 0 < query.limit <= MAX_PAGE_SIZE or query.offset < 0:
            raise MalformedRequest(
                f"limit must be between 1 and {MAX_PAGE_SIZE}, and offset not below 0."
            )
        found = [card for card in self.by_id.values() if _matches(card, query)]
        cards = tuple(found[query.offset : query.offset + query.limit])
        return ModelPage(cards, len(found), query)

    def categories_representation(self) -> dict[str, object]:
        """The answer of `GET /v1/models/categories`: every category of every model, sorted."""
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
