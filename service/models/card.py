"""What the gateway knows of one model, whether from a card of ours or from RunComfy's catalogue.

Cards are read tolerantly: what is odd is left out and told of in `remarks`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from importlib.resources import files
from typing import Final

import orjson

from core.deduplication.fingerprint import MAX_DEPTH, NO_DEFAULTS, Defaults, nested_deeper
from core.errors import FieldError, InvalidInput
from core.money import MicroUsd, from_usd
from service.models.input_schema import UnreadableSchema, defaults_of
from service.models.media import LARGEST, MediaField, MediaKind, media_errors, media_fields
from service.models.pricing import Price, Surcharge, Unit, price_of
from service.models.rules import Rule, read_rule
from service.models.validation import MOST_ERRORS, InputValidator, UncompilableSchema, compiled


class Source(StrEnum):
    """Where a card comes from."""

    LOCAL = "local"
    CATALOGUE = "catalogue"


@dataclass(frozen=True, slots=True)
class Checks:
    """All that is checked of a model's input, compiled once."""

    validator: InputValidator
    defaults: Defaults
    media: tuple[MediaField, ...]
    rules: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class ModelCard:
    """One model. `checks` is None where it has no usable schema; `remarks` say what was left out.

    `shown` is the JSON document of `GET /v1/models/{model_id}`; nobody may change it.
    """

    model_id: str
    display_name: str
    kind: str
    categories: tuple[str, ...]
    source: Source
    price: Price | None
    checks: Checks | None
    remarks: tuple[str, ...]
    shown: Mapping[str, object] = field(repr=False)

    @property
    def defaults(self) -> Defaults:
        """What absent fields of the input mean."""
        return self.checks.defaults if self.checks else NO_DEFAULTS

    @property
    def seeded(self) -> bool:
        """Whether the input has a `seed`: who leaves it out wants another result each time."""
        fields = self.checks.validator.schema.get("properties") if self.checks else None
        return isinstance(fields, Mapping) and SEED in fields

    def document(self, *, include_schema: bool = True) -> dict[str, object]:
        """The model as RunComfy's catalogue shows it, with everything that RunComfy itself said."""
        return {
            name: value
            for name, value in self.shown.items()
            if include_schema or name not in SCHEMAS
        }


SEED: Final = "seed"
SCHEMAS: Final = frozenset({"input_schema", "output_schema"})
_ALSO_SHOWN: Final = ("description", "media_note", "sample")
_SHOWN: Final = (
    *("model_id", "display_name", "kind", "categories"),
    *("base_price_usd", "price_unit", "pricing_note", "input_schema", "output_schema"),
)


def validate_input(card: ModelCard | None, value: object) -> None:
    """Raise `InvalidInput` with the fields at fault; without a card or a schema, only by shape."""
    errors = _shape_errors(value)
    if not errors and card and card.checks and isinstance(value, dict):
        errors = _errors(card.checks, value)
    if errors:
        raise InvalidInput(_summary(errors), fields=errors)


def estimate(card: ModelCard | None, value: Mapping[str, object]) -> MicroUsd | None:
    """What this valid input will cost, as far as the card's price tells; None where unknown."""
    return price_of(card.price, value, card.defaults) if card else None


def _shape_errors(value: object) -> tuple[FieldError, ...]:
    if not isinstance(value, dict):
        return (FieldError("", "must be of type object"),)
    if nested_deeper(value, MAX_DEPTH):
        return (FieldError("", f"must not be nested deeper than {MAX_DEPTH} levels"),)
    return ()


def _errors(checks: Checks, value: Mapping[str, object]) -> tuple[FieldError, ...]:
    errors = checks.validator.errors(value)
    if errors:
        return errors
    broken = (rule.broken_by(value, checks.defaults) for rule in checks.rules)
    found = [*(error for error in broken if error), *media_errors(checks.media, value)]
    return tuple(found[:MOST_ERRORS])


def _summary(errors: tuple[FieldError, ...]) -> str:
    first, more = errors[0], len(errors) - 1
    rest = f" (and {more} more)" if more else ""
    return f"The input does not fit the model: {first.path or 'it'} {first.message}{rest}."


def load_cards() -> tuple[ModelCard, ...]:
    """The cards that ship with the gateway, read from package data, sorted by file name."""
    folder = files("service.models") / "cards"
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".json"))
    return tuple(local_card(orjson.loads((folder / name).read_bytes())) for name in names)


def local_card(document: Mapping[str, object]) -> ModelCard:
    """A card of ours, written by hand: RunComfy's fields, and those that only we know.

    `unknown_fields` (`refuse` or `pass`), `surcharges`, `media`, `rules`, `sample`, `description`,
    `media_note`. A mistake in these raises.
    """
    shown = {name: document[name] for name in (*_SHOWN, *_ALSO_SHOWN) if name in document}
    extras = Extras(
        closed=document.get("unknown_fields") == "refuse",
        media=tuple(_media_field(entry) for entry in _entries(document, "media")),
        rules=tuple(read_rule(_words(entry)) for entry in _entries(document, "rules")),
        surcharges=tuple(_surcharge(entry) for entry in _entries(document, "surcharges")),
    )
    return read_card(str(document["model_id"]), shown, Source.LOCAL, extras)


@dataclass(frozen=True, slots=True)
class Extras:
    """What a card of ours says beyond RunComfy's own document."""

    closed: bool = False
    media: tuple[MediaField, ...] = ()
    rules: tuple[Rule, ...] = ()
    surcharges: tuple[Surcharge, ...] = ()


NO_EXTRAS: Final = Extras()


def read_card(
    model_id: str, shown: Mapping[str, object], source: Source, extras: Extras = NO_EXTRAS
) -> ModelCard:
    """A card from a document in the shape of RunComfy's catalogue; anything may be missing."""
    name = shown.get("display_name")
    kind = shown.get("kind")
    checks, remarks = _checks(shown.get("input_schema"), extras)
    return ModelCard(
        model_id=model_id,
        display_name=name if isinstance(name, str) and name else model_id,
        kind=kind if isinstance(kind, str) else "",
        categories=_texts(shown.get("categories")),
        source=source,
        price=_price(shown, extras.surcharges),
        checks=checks,
        remarks=remarks,
        shown=shown,
    )


def _checks(schema: object, extras: Extras) -> tuple[Checks | None, tuple[str, ...]]:
    if schema is None:
        return None, ("there is no input schema; inputs pass unchecked",)
    try:
        validator, read = compiled(schema, closed=extras.closed)
    except (UnreadableSchema, UncompilableSchema) as error:
        return None, (f"the input schema is not usable, inputs pass unchecked: {error}",)
    by_path = {entry.path: entry for entry in (*media_fields(schema), *extras.media)}
    checks = Checks(validator, defaults_of(read.schema), tuple(by_path.values()), extras.rules)
    return checks, read.remarks


def _price(shown: Mapping[str, object], surcharges: tuple[Surcharge, ...]) -> Price | None:
    rate, unit = from_usd(shown.get("base_price_usd")), shown.get("price_unit")
    if rate is None or not isinstance(unit, str) or unit not in tuple(Unit):
        return None
    return Price(Unit(unit), rate, surcharges)


def _texts(value: object) -> tuple[str, ...]:
    given = [value] if isinstance(value, str) else value
    return tuple(text for text in given if isinstance(text, str)) if isinstance(given, list) else ()


def _entries(document: Mapping[str, object], name: str) -> Iterable[Mapping[str, object]]:
    entries = document.get(name, [])
    if not isinstance(entries, list):
        raise TypeError(f"{name} of a card must be a list")
    return entries


def _words(entry: Mapping[str, object]) -> dict[str, str]:
    return {name: str(text) for name, text in entry.items()}


def _media_field(entry: Mapping[str, object]) -> MediaField:
    kind = MediaKind(str(entry["kind"]))
    subtypes = frozenset(_texts(entry.get("subtypes")))
    return MediaField((str(entry["field"]),), kind, LARGEST[kind], subtypes)


def _surcharge(entry: Mapping[str, object]) -> Surcharge:
    rate = from_usd(entry["usd"])
    if rate is None:
        raise ValueError("usd of a surcharge must be an amount")
    return Surcharge(str(entry["field"]), entry["equals"], rate)
