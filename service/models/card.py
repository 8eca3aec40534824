"""Model cards: what the gateway knows of a model, from its own cards or RunComfy's catalogue.

Catalogue documents are parsed tolerantly: what is not understood is left out, and a remark added.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from importlib.resources import files
from typing import Final

import orjson

from core.deduplication.fingerprint import MAX_DEPTH, NO_DEFAULTS, Defaults, is_nested_deeper
from core.errors import FieldError, InvalidInput
from core.money import MicroUsd, from_usd
from service.models.input_schema import UnusableSchema, defaults_of
from service.models.media import MAX_MEDIA_BYTES, MediaField, MediaKind, media_errors, media_fields
from service.models.pricing import Price, PriceUnit, Surcharge, estimate_price
from service.models.rules import SumEquals, parse_rule
from service.models.validation import MAX_ERRORS, InputValidator, compile_schema


class CardSource(StrEnum):
    """The source of a card."""

    LOCAL = "local"
    CATALOGUE = "catalogue"


@dataclass(frozen=True, slots=True)
class InputChecks:
    """Everything that is checked of a model's input, compiled once."""

    validator: InputValidator
    defaults: Defaults
    media: tuple[MediaField, ...]
    rules: tuple[SumEquals, ...]
    has_seed: bool = False
    """Whether the input has a `seed`: a caller who leaves it out expects a new result each time."""


@dataclass(frozen=True, slots=True)
class ModelCard:
    """One model. `checks` is None if it has no usable schema; `remarks` list what was left out.

    `source_document` is the JSON of `GET /v1/models/{model_id}`; it is shared and must not change.
    """

    model_id: str
    display_name: str
    kind: str
    categories: tuple[str, ...]
    source: CardSource
    price: Price | None
    checks: InputChecks | None
    remarks: tuple[str, ...]
    source_document: Mapping[str, object] = field(repr=False)

    @property
    def defaults(self) -> Defaults:
        """The defaults of absent input fields."""
        return self.checks.defaults if self.checks else NO_DEFAULTS

    def representation(self, *, include_schema: bool = True) -> dict[str, object]:
        """Return the model as RunComfy's catalogue has it, unknown fields included."""
        return {
            name: value
            for name, value in self.source_document.items()
            if include_schema or name not in SCHEMA_FIELDS
        }


SEED: Final = "seed"
SCHEMA_FIELDS: Final = frozenset({"input_schema", "output_schema"})
_LOCAL_FIELDS: Final = ("description", "media_note", "sample")
_CATALOGUE_FIELDS: Final = (
    *("model_id", "display_name", "kind", "categories"),
    *("base_price_usd", "price_unit", "pricing_note", "input_schema", "output_schema"),
)


def validate_input(card: ModelCard | None, value: object) -> None:
    """Raise `InvalidInput` with every invalid field; without a schema, check only the shape."""
    errors = _shape_errors(value)
    if not errors and card and card.checks and isinstance(value, dict):
        errors = _input_errors(card.checks, value)
    if errors:
        raise InvalidInput(_summary(errors), fields=errors)


def estimate_cost(card: ModelCard | None, value: Mapping[str, object]) -> MicroUsd | None:
    """Return the estimated cost of a valid input; None if the card's price does not cover it."""
    return estimate_price(card.price, value, card.defaults) if card else None


def _shape_errors(value: object) -> tuple[FieldError, ...]:
    if not isinstance(value, dict):
        return (FieldError("", "must be of type object"),)
    if is_nested_deeper(value, MAX_DEPTH):
        return (FieldError("", f"must not be nested deeper than {MAX_DEPTH} levels"),)
    return ()


def _input_errors(checks: InputChecks, value: Mapping[str, object]) -> tuple[FieldError, ...]:
    errors = checks.validator.errors(value)
    if errors:
        return errors
    broken = (rule.check(value, checks.defaults) for rule in checks.rules)
    found = [*(error for error in broken if error), *media_errors(checks.media, value)]
    return tuple(found[:MAX_ERRORS])


def _summary(errors: tuple[FieldError, ...]) -> str:
    first, more = errors[0], len(errors) - 1
    rest = f" (and {more} more)" if more else ""
    return f"The input does not fit the model: {first.path or 'it'} {first.message}{rest}."


def load_cards() -> tuple[ModelCard, ...]:
    """Read the cards in the package data, sorted by file name."""
    folder = files("service.models") / "cards"
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".json"))
    return tuple(parse_local_card(orjson.loads((folder / name).read_bytes())) for name in names)


def parse_local_card(document: Mapping[str, object]) -> ModelCard:
    """Parse one of the gateway's own cards: RunComfy's fields, and these of its own.

    `unknown_fields` (`refuse` or `pass`), `surcharges`, `media`, `rules`, `sample`, `description`,
    `media_note`. A mistake in these raises `KeyError`, `TypeError` or `ValueError`.
    """
    document_fields = {
        name: document[name] for name in (*_CATALOGUE_FIELDS, *_LOCAL_FIELDS) if name in document
    }
    extensions = LocalExtensions(
        forbid_unknown_fields=document.get("unknown_fields") == "refuse",
        media=tuple(_parse_media_field(entry) for entry in _entries(document, "media")),
        rules=tuple(parse_rule(_to_strings(entry)) for entry in _entries(document, "rules")),
        surcharges=tuple(_parse_surcharge(entry) for entry in _entries(document, "surcharges")),
    )
    return parse_card(str(document["model_id"]), document_fields, CardSource.LOCAL, extensions)


@dataclass(frozen=True, slots=True)
class LocalExtensions:
    """What one of the gateway's own cards has beyond RunComfy's fields."""

    forbid_unknown_fields: bool = False
    media: tuple[MediaField, ...] = ()
    rules: tuple[SumEquals, ...] = ()
    surcharges: tuple[Surcharge, ...] = ()


NO_LOCAL_EXTENSIONS: Final = LocalExtensions()


def parse_card(
    model_id: str,
    document: Mapping[str, object],
    source: CardSource,
    extensions: LocalExtensions = NO_LOCAL_EXTENSIONS,
) -> ModelCard:
    """Parse a document of RunComfy's catalogue; any field may be missing."""
    name = document.get("display_name")
    kind = document.get("kind")
    checks, remarks = _build_checks(document.get("input_schema"), extensions)
    return ModelCard(
        model_id=model_id,
        display_name=name if isinstance(name, str) and name else model_id,
        kind=kind if isinstance(kind, str) else "",
        categories=_parse_texts(document.get("categories")),
        source=source,
        price=_parse_price(document, extensions.surcharges),
        checks=checks,
        remarks=remarks,
        source_document=document,
    )


def _build_checks(
    schema: object, extensions: LocalExtensions
) -> tuple[InputChecks | None, tuple[str, ...]]:
    if schema is None:
        return None, ("there is no input schema; inputs pass unchecked",)
    try:
        validator, read = compile_schema(
            schema, forbid_unknown_fields=extensions.forbid_unknown_fields
        )
    except UnusableSchema as error:
        return None, (f"the input schema is not usable, inputs pass unchecked: {error}",)
    by_path = {entry.path: entry for entry in (*media_fields(schema), *extensions.media)}
    properties = validator.schema.get("properties")
    checks = InputChecks(
        validator,
        defaults_of(read.schema),
        tuple(by_path.values()),
        extensions.rules,
        has_seed=isinstance(properties, Mapping) and SEED in properties,
    )
    return checks, read.remarks


def _parse_price(document: Mapping[str, object], surcharges: tuple[Surcharge, ...]) -> Price | None:
    rate, unit = from_usd(document.get("base_price_usd")), document.get("price_unit")
    if rate is None or not isinstance(unit, str) or unit not in tuple(PriceUnit):
        return None
    return Price(PriceUnit(unit), rate, surcharges)


def _parse_texts(value: object) -> tuple[str, ...]:
    given = [value] if isinstance(value, str) else value
    return tuple(text for text in given if isinstance(text, str)) if isinstance(given, list) else ()


def _entries(document: Mapping[str, object], name: str) -> Iterable[Mapping[str, object]]:
    entries = document.get(name, [])
    if not isinstance(entries, list):
        raise TypeError(f"{name} of a card must be a list")
    return entries


def _to_strings(entry: Mapping[str, object]) -> dict[str, str]:
    return {name: str(text) for name, text in entry.items()}


def _parse_media_field(entry: Mapping[str, object]) -> MediaField:
    kind = MediaKind(str(entry["kind"]))
    subtypes = frozenset(_parse_texts(entry.get("subtypes")))
    return MediaField((str(entry["field"]),), kind, MAX_MEDIA_BYTES[kind], subtypes)


def _parse_surcharge(entry: Mapping[str, object]) -> Surcharge:
    rate = from_usd(entry["usd"])
    if rate is None:
        raise ValueError("usd of a surcharge must be an amount")
    return Surcharge(str(entry["field"]), entry["equals"], rate)
