"""The registry of models: an immutable set of cards with look-up, search and pages.

A card of the gateway's own is laid over RunComfy's entry of the same id.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from difflib import get_close_matches
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Any, Final, NamedTuple, Self

from pydantic import ConfigDict, Field, model_validator

from core.errors import MalformedRequest, UnknownModel
from core.jobs.refusal_costs import NO_REFUSALS, RefusalCosts
from core.models.ids import is_model_id
from core.models.pins import ModelPin, changes_since, schema_digest
from service.models.card import ModelCard
from service.models.catalogue_entry import parse_catalogue_card
from service.models.pins import PinState
from service.parsing.fields import UNREADABLE_OPTION, InvalidField
from service.parsing.request_models import FlagOption, RequestModel, WholeNumberOption

MAX_PAGE_SIZE: Final = 500
"""RunComfy's own limit."""
MAX_OFFSET: Final = 999_999_999
NO_REFUSAL_COSTS: Final[Mapping[str, RefusalCosts]] = MappingProxyType({})
NO_ALIASES: Final[Mapping[str, str]] = MappingProxyType({})
_MAX_NEAR_NAMES: Final = 3
_MAX_COMPARED_CHARS: Final = 100
"""Comparing longer names with a whole catalogue would take too long."""


class UnlistedPolicy(StrEnum):
    """What becomes of a submit to a model that neither the catalogue nor a card lists."""

    REFUSE = "refuse"
    FORWARD = "forward"
    """It is passed on unchecked; its price is unknown."""


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
        # Clients of RunComfy send options without a value: they mean its default.
        return {name: value for name, value in options.items() if value != ""}

    search: str = Field("", description="Words that id, name or description must contain.")
    category: str = Field("", description="A category.")
    kind: str = Field("", description="`model`, `workflow` or `inference`.")
    limit: Annotated[int, WholeNumberOption(1, MAX_PAGE_SIZE)] = Field(50, description="Page size.")
    offset: Annotated[int, WholeNumberOption(0, MAX_OFFSET)] = Field(
        0, description="Number of models to skip."
    )
    include_schema: FlagOption = Field(default=False, description="Include the schemas.")


class NamedModel(NamedTuple):
    """The model that a path means; `alias` None: the path is the model's own id."""

    model_id: str
    alias: str | None


@dataclass(frozen=True, slots=True)
class ModelRegistry:
    """The cards by id, sorted; `synced_at` is None until a catalogue has been read.

    `cards_by_document` lets the next registry reuse the cards of unchanged documents.
    """

    local_cards: tuple[ModelCard, ...]
    by_id: Mapping[str, ModelCard]
    synced_at: datetime | None
    cards_by_document: Mapping[bytes, ModelCard | None] = field(repr=False)
    unlisted: UnlistedPolicy = UnlistedPolicy.REFUSE
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Model ids by alias. An alias counts before a model of the same id."""
    pins: tuple[ModelPin, ...] = ()
    pin_conflicts: Mapping[tuple[str, str], PinState | None] = field(default_factory=dict)
    """By tenant ('': all) and model id, for every pin; None where nothing has changed."""

    @classmethod
    def build(
        cls,
        local_cards: Iterable[ModelCard],
        documents: Iterable[bytes] = (),
        synced_at: datetime | None = None,
        *,
        unlisted: UnlistedPolicy = UnlistedPolicy.REFUSE,
        aliases: Mapping[str, str] = NO_ALIASES,
        known_cards: Mapping[bytes, ModelCard | None] | None = None,
    ) -> Self:
        """Build a registry of own cards and of the catalogue's documents (one JSON per model).

        Compiles about a thousand schemas a second: call it in a thread for a new catalogue.
        """
        known, ours = known_cards or {}, tuple(local_cards)
        local_by_id = {card.model_id: card for card in ours}
        sources = {
            document: known[document]
            if document in known
            else parse_catalogue_card(document, local_by_id)
            for document in documents
        }
        listed = {card.model_id: card for card in sources.values() if card}
        by_id = MappingProxyType(dict(sorted((local_by_id | listed).items())))
        return cls(ours, by_id, synced_at, MappingProxyType(sources), unlisted, aliases)

    def with_catalogue(self, documents: Iterable[bytes], synced_at: datetime) -> "ModelRegistry":
        """Return a registry with a newer catalogue; cards of unchanged documents are reused."""
        return ModelRegistry.build(
            self.local_cards,
            documents,
            synced_at,
            unlisted=self.unlisted,
            aliases=self.aliases,
            known_cards=self.cards_by_document,
        ).with_pins(self.pins, synced_at)

    def with_aliases(self, own: Mapping[str, str]) -> "ModelRegistry":
        """Return the registry as a tenant sees it that has `own` aliases.

        They count before the operator's, and may name one of these.
        """
        if not own:
            return self
        resolved = {alias: self.aliases.get(name, name) for alias, name in own.items()}
        return replace(self, aliases={**self.aliases, **resolved})

    def with_pins(self, pins: Iterable[ModelPin], now: datetime) -> "ModelRegistry":
        """Return the registry with these pins in place of its own."""
        kept = tuple(pins)
        conflicts = {(pin.tenant, pin.model_id): self._conflict_with(pin, now) for pin in kept}
        return replace(self, pins=kept, pin_conflicts=conflicts)

    def _conflict_with(self, pin: ModelPin, now: datetime) -> PinState | None:
        card = self.by_id.get(pin.model_id)
        changes = changes_since(pin, card.source_document if card else None, now)
        return PinState(pin, changes) if changes else None

    def pin_conflict(self, tenant: str, model_id: str) -> PinState | None:
        """Return what has changed since the pin of a model; a tenant's own pin counts first."""
        if not self.pin_conflicts:
            return None
        own = (tenant, model_id)
        return self.pin_conflicts.get(own if own in self.pin_conflicts else ("", model_id))

    def lists(self, written: str) -> bool:
        """Return whether a path means a model of the catalogue or of a card."""
        return self.resolve(written).model_id in self.by_id

    def resolve(self, written: str) -> NamedModel:
        """Return the model that a path means.

        That is without a slash at its end, `+` possibly a space, and an alias replaced. Form
        encoding writes a space as `+`, and some clients encode paths so; an id that holds a `+`
        itself comes first.
        """
        name = written.rstrip("/")
        if "+" in name and not self._has(name) and self._has(spaced := name.replace("+", " ")):
            name = spaced
        model_id = self.aliases.get(name, name)
        return NamedModel(model_id, None if model_id == name else name)

    def _has(self, name: str) -> bool:
        return name in self.by_id or name in self.aliases

    def lookup(self, model_id: str, now: datetime) -> ModelCard | None:
        """Return the card of an id; None: the model is not listed, and passes on unchecked.

        Raises `UnknownModel` if the policy refuses such a model, `MalformedRequest` for what cannot
        be an id.
        """
        card = self.by_id.get(model_id)
        if card:
            return card
        if not is_model_id(model_id):
            raise MalformedRequest(
                "That is not a model id: printable names, separated by slashes, are."
            )
        if self.unlisted is UnlistedPolicy.FORWARD:
            return None
        raise self._unknown_model(model_id, now)

    def card(self, model_id: str, now: datetime) -> ModelCard:
        """Return the card of an id. Raises `UnknownModel`, even if a submit would pass."""
        if model_id not in self.by_id:
            raise self._unknown_model(model_id, now)
        return self.by_id[model_id]

    def model_representation(
        self, written: str, now: datetime, refusal_costs: Mapping[str, RefusalCosts]
    ) -> dict[str, object]:
        """Return the response of `GET /v1/models/{model_id}`. Raises `UnknownModel`."""
        card = self.card(self.resolve(written).model_id, now)
        return self._entry(card, refusal_costs, include_schema=True)

    def _entry(
        self, card: ModelCard, refusal_costs: Mapping[str, RefusalCosts], *, include_schema: bool
    ) -> dict[str, object]:
        """Return RunComfy's entry of a model with what the gateway knows of it."""
        names = sorted(alias for alias, target in self.aliases.items() if target == card.model_id)
        own: dict[str, object] = {"aliases": names} if names else {}
        if include_schema:
            own["schema_digest"] = schema_digest(card.source_document)
        costs = refusal_costs.get(card.model_id, NO_REFUSALS)
        own["charges_on_refusal"] = costs.charges
        own["refusals"] = {"charged": costs.charged, "free": costs.free}
        return card.representation(include_schema=include_schema) | own

    def _unknown_model(self, model_id: str, now: datetime) -> UnknownModel:
        """Return the error with the nearest ids and the age of the catalogue."""
        near = self._near_names(model_id)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        if self.synced_at is None:
            age = "No worker has read RunComfy's catalogue yet"
        else:
            age = f"The catalogue was read {_format_age(now, self.synced_at)} ago"
        return UnknownModel(
            f"No model {model_id[:_MAX_COMPARED_CHARS]} is listed.{hint} {age}; a worker reads it "
            "again within a minute."
        )

    def _near_names(self, model_id: str) -> list[str]:
        if len(model_id) > _MAX_COMPARED_CHARS:
            return []
        maker = model_id.partition("/")[0].casefold()
        everything = {name.casefold(): name for name in self.by_id}
        # A maker has a few models; comparing with all of them would stop other calls for a while.
        names = {
            folded: name for folded, name in everything.items() if folded.partition("/")[0] == maker
        } or everything
        near = get_close_matches(model_id.casefold(), names, n=_MAX_NEAR_NAMES, cutoff=0.7)
        return [names[name] for name in near]

    def page_representation(
        self, query: ModelQuery, refusal_costs: Mapping[str, RefusalCosts] = NO_REFUSAL_COSTS
    ) -> dict[str, Any]:
        """Return the response of `GET /v1/models`; `total` counts all matches."""
        found = [card for card in self.by_id.values() if _matches(card, query)]
        entries = (
            self._entry(card, refusal_costs, include_schema=query.include_schema)
            for card in found[query.offset : query.offset + query.limit]
        )
        return {
            "models": list(entries),
            "total": len(found),
            "limit": query.limit,
            "offset": query.offset,
        }

    def categories_representation(self) -> dict[str, object]:
        """Return the response of `GET /v1/models/categories`: all categories, sorted."""
        return {
            "categories": sorted({name for card in self.by_id.values() for name in card.categories})
        }


def _matches(card: ModelCard, query: ModelQuery) -> bool:
    words = query.search.casefold().split()
    text = f"{card.model_id} {card.display_name} {card.description}".casefold()
    return (
        all(word in text for word in words)
        and query.category in ("", *card.categories)
        and query.kind in ("", card.kind)
    )


def _format_age(now: datetime, at: datetime) -> str:
    seconds = max(int((now - at).total_seconds()), 0)
    for size, unit in ((86_400, "days"), (3_600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} seconds"
