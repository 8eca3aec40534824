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
from simulator.script import Json

MAX_LIMIT = 500
_FILES = ("catalogue.json", "seen_models.json")
# The same setting has other names in other models.
_SOUND_FIELDS = ("generate_audio", "sound")
_COUNT_FIELDS = ("num_images", "number_of_images")
_SCHEMAS = ("input_schema", "output_schema")


@dataclass(frozen=True, slots=True)
class SimulatedModel:
    """A public card, and what it has as text only: the kind of output and the price.

    That is ``rate`` micro-dollars per ``unit``; ``muted_rate`` applies without audio.
    """

    card: Json
    output_kind: str
    unit: str
    rate: int
    muted_rate: int | None = None

    @property
    def model_id(self) -> str:
        """The model id, with its slashes."""
        return str(self.card["model_id"])

    def price_of(self, payload: Json) -> int:
        """Return the price in micro-dollars, by seconds or outputs; Kling's is that of its page."""
        muted = any(self._value(payload, name) is False for name in _SOUND_FIELDS)
        rate = self.rate if self.muted_rate is None or not muted else self.muted_rate
        units = self._value(payload, "duration") if self.unit == "second" else None
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


def categories_of(models: Mapping[str, SimulatedModel]) -> list[str]:
    """Return every category of a card, sorted."""
    return sorted({name for model in models.values() for name in model.card["categories"]})


def page_of(
    models: Mapping[str, SimulatedModel], filters: Mapping[str, str], limit: int, offset: int
) -> Json:
    """Return ``models``, ``total``, ``limit``, ``offset``; an absent filter matches everything."""
    found = [model.card for model in models.values() if _matches(model.card, filters)]
    limit = min(limit, MAX_LIMIT)
    page = found[offset : offset + limit]
    return {"models": page, "total": len(found), "limit": limit, "offset": offset}


def load_catalogue(path: Path | None = None) -> Mapping[str, SimulatedModel]:
    """Return the models by id of the files beside this module, or of another in their format."""
    paths = [path] if path else [Path(__file__).with_name(name) for name in _FILES]
    rows = [row for one in paths for row in orjson.loads(one.read_bytes())]
    return {model.model_id: model for model in _models(rows)}


def _models(rows: Iterable[Json]) -> Iterable[SimulatedModel]:
    for row in rows:
        card = row["card"] | _derived_fields(row["card"])
        yield SimulatedModel(card=card, output_kind=row["makes"], **row["tariff"])


def _derived_fields(card: Json) -> Json:
    schema = card["input_schema"]
    return {
        "model_url": f"https://www.runcomfy.com/models/{card['model_id']}",
        "inputs": list(schema["properties"]),
        "required_inputs": schema.get("required", []),
    }


def _matches(card: Json, filters: Mapping[str, str]) -> bool:
    text = f"{card['model_id']} {card['display_name']} {card['description']}".lower()
    return (
        filters.get("search", "").lower() in text
        and filters.get("category", "") in {"", *card["categories"]}
        and filters.get("kind", "") in {"", card["kind"]}
    )


def without_schemas(card: Json) -> Json:
    """Return a card as a list has it by default."""
    return {name: value for name, value in card.items() if name not in _SCHEMAS}
