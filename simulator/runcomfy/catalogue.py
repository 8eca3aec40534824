"""The models: their public cards, prices and outputs.

`catalogue.json`: Kling's card is RunComfy's own; the others are invented, each for a special case.
`seen_models.json`: models of RunComfy with the fields that RunComfy published, and no others. Where
no price is known the card has none, and nothing is charged.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import orjson

from simulator.runcomfy.job import Product
from simulator.script_fields import Json

MAX_LIMIT = 500
_FILES = ("catalogue.json", "seen_models.json")
# The same setting has other names in other models.
_SOUND_FIELDS = ("generate_audio", "sound")
_COUNT_FIELDS = ("num_images", "number_of_images")
_SCHEMAS = ("input_schema", "output_schema")


@dataclass(frozen=True, slots=True)
class Tariff:
    """``rate`` micro-dollars per unit; ``muted_rate`` applies without audio."""

    unit: str
    rate: int
    muted_rate: int | None = None


@dataclass(frozen=True, slots=True)
class SimulatedModel:
    """A public card, and the price and output kind, which a card has as text only."""

    card: Json
    tariff: Tariff
    output_kind: str

    @property
    def model_id(self) -> str:
        """The model id, with its slashes."""
        return str(self.card["model_id"])

    def price_of(self, payload: Json) -> int:
        """Return the price in micro-dollars, by seconds or outputs; Kling's is that of its page."""
        muted = any(self._value(payload, name) is False for name in _SOUND_FIELDS)
        rate = self.tariff.rate
        if muted and self.tariff.muted_rate is not None:
            rate = self.tariff.muted_rate
        units = self._value(payload, "duration") if self.tariff.unit == "second" else None
        return round(rate * (units or self._count(payload)))

    def product_of(self, payload: Json) -> Product:
        """Return the output of a request with this input."""
        count = self._count(payload) if self.output_kind == "image" else 1
        return Product(kind=self.output_kind, count=count)

    def _count(self, payload: Json) -> int:
        counts = (self._value(payload, name) for name in _COUNT_FIELDS)
        return next((count for count in counts if count), 1)

    def _value(self, payload: Json, name: str) -> int | None:
        default: int | None = self.card["input_schema"]["properties"].get(name, {}).get("default")
        value: int | None = payload.get(name)
        return default if value is None else value


@dataclass(frozen=True, slots=True)
class CatalogueQuery:
    """Filters and page of the model list; empty strings match everything."""

    search: str = ""
    category: str = ""
    kind: str = ""
    include_schema: bool = False
    limit: int = 20
    offset: int = 0


@dataclass(frozen=True, slots=True)
class SimulatedCatalogue:
    """All models by id."""

    models: Mapping[str, SimulatedModel]

    @property
    def categories(self) -> list[str]:
        """Every category of a card, sorted."""
        return sorted({name for model in self.models.values() for name in model.card["categories"]})

    def page(self, query: CatalogueQuery) -> Json:
        """Return ``models``, ``total``, ``limit``, ``offset``; schemas are optional."""
        found = [model.card for model in self.models.values() if _matches(model.card, query)]
        limit = min(query.limit, MAX_LIMIT)
        page = found[query.offset : query.offset + limit]
        cards = page if query.include_schema else [_without_schemas(card) for card in page]
        return {"models": cards, "total": len(found), "limit": limit, "offset": query.offset}


def load_catalogue(path: Path | None = None) -> SimulatedCatalogue:
    """Read the files beside this module, or another in the same format."""
    paths = [path] if path else [Path(__file__).with_name(name) for name in _FILES]
    rows = [row for one in paths for row in orjson.loads(one.read_bytes())]
    return SimulatedCatalogue({model.model_id: model for model in _models(rows)})


def _models(rows: Iterable[Json]) -> Iterable[SimulatedModel]:
    for row in rows:
        card = row["card"] | _derived_fields(row["card"])
        yield SimulatedModel(card=card, tariff=Tariff(**row["tariff"]), output_kind=row["makes"])


def _derived_fields(card: Json) -> Json:
    schema = card["input_schema"]
    return {
        "model_url": f"https://www.runcomfy.com/models/{card['model_id']}",
        "inputs": list(schema["properties"]),
        "required_inputs": schema.get("required", []),
    }


def _matches(card: Json, query: CatalogueQuery) -> bool:
    text = f"{card['model_id']} {card['display_name']} {card['description']}".lower()
    return (
        query.search.lower() in text
        and query.category in {"", *card["categories"]}
        and query.kind in {"", card["kind"]}
    )


def _without_schemas(card: Json) -> Json:
    return {name: value for name, value in card.items() if name not in _SCHEMAS}
