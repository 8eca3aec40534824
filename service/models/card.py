"""Model cards: what the gateway knows of a model, from its own cards or RunComfy's catalogue.

Catalogue documents are parsed tolerantly: what is not understood is left out, and a remark added.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from importlib.resources import files
from typing import Final

import orjson

from core.deduplication.fingerprint import MAX_DEPTH, NO_DEFAULTS, Defaults, is_nested_deeper
from core.errors import FieldError, InvalidInput
from core.money import from_usd
from service.models.input_schema import UnusableSchema, defaults_of
from service.models.media.fields import (
    MAX_MEDIA_BYTES,
    MediaField,
    MediaKind,
    media_errors,
    media_fields,
    reference_errors,
)
from service.models.media.named_files import NO_NAMED_FILES, NamedFiles
from service.models.pins import PinState
from service.models.pricing import (
    NO_ESTIMATE,
    InputEstimate,
    Price,
    PriceUnit,
    Surcharge,
    estimate_at_price,
)
from service.models.quantities import Quantity, quantities_of_input, quantities_of_schema
from service.models.rules import SumEquals, parse_rule
from service.models.validation import MAX_ERRORS, InputValidator, compile_schema


class CardSource(StrEnum):
    """The source of a card."""

    LOCAL = "local"
    CATALOGUE = "catalogue"
    BOTH = "both"
    """RunComfy's entry, with what the gateway's own card adds."""


@dataclass(frozen=True, slots=True)
class InputChecks:
    """Everything that is checked of a model's input, compiled once."""

    validator: InputValidator
    defaults: Defaults
    media: tuple[MediaField, ...]
    rules: tuple[SumEquals, ...]
    quantities: tuple[Quantity, ...] = ()
    seed_field: str | None = None
    """The field that pins the result: a caller who leaves it out expects another one each time."""


@dataclass(frozen=True, slots=True)
class LocalExtensions:
    """What one of the gateway's own cards has beyond RunComfy's fields."""

    forbid_unknown_fields: bool = False
    media: tuple[MediaField, ...] = ()
    rules: tuple[SumEquals, ...] = ()
    price: Price | None = None
    """The card's own price; its surcharges move with the base price that RunComfy states."""


NO_LOCAL_EXTENSIONS: Final = LocalExtensions()


@dataclass(frozen=True, slots=True)
class ModelCard:
    """One model. `checks` is None if it has no usable schema; `remarks` list what was left out.

    `source_document` is the JSON of `GET /v1/models/{model_id}`; it is shared and must not change.
    """

    model_id: str
    display_name: str
    description: str
    kind: str
    categories: tuple[str, ...]
    source: CardSource
    price: Price | None
    checks: InputChecks | None
    remarks: tuple[str, ...]
    source_document: Mapping[str, object] = field(repr=False)
    extensions: LocalExtensions = field(default=NO_LOCAL_EXTENSIONS, repr=False)

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


_SEED: Final = re.compile(r"(?:\w+_)?seed", re.IGNORECASE)
SCHEMA_FIELDS: Final = frozenset({"input_schema", "output_schema"})
_LOCAL_FIELDS: Final = ("description", "media_note", "sample")
_CATALOGUE_FIELDS: Final = (
    *("model_id", "display_name", "kind", "categories"),
    *("base_price_usd", "price_unit", "pricing_note", "input_schema", "output_schema"),
)


def validate_input(
    card: ModelCard | None,
    value: object,
    conflict: PinState | None = None,
    files: NamedFiles = NO_NAMED_FILES,
) -> None:
    """Raise `InvalidInput` with every invalid field; without a schema, check only the shape.

    `files` are those that the input names; only media fields may name one.

    Raises `PinnedModelChanged` for an input that a `conflict` with a pin concerns.
    """
    errors = _shape_errors(value)
    if not errors and isinstance(value, dict):
        checks = card.checks if card else None
        errors = _input_errors(checks, value, files) if checks else ()
        errors = errors or reference_errors(checks.media if checks else None, value, files)
        if conflict is not None:
            conflict.check(value, errors)
    if errors:
        raise InvalidInput(_summary(errors), fields=errors)


def estimate_input(card: ModelCard | None, value: Mapping[str, object]) -> InputEstimate:
    """Return the cost and the length of what a valid input requests, as far as they are known."""
    if card is None:
        return NO_ESTIMATE
    quantities = card.checks.quantities if card.checks else quantities_of_input(value)
    return estimate_at_price(card.price, value, card.defaults, quantities)


def pins_seed(card: ModelCard | None, value: Mapping[str, object]) -> bool:
    """Return whether the input sets the model's seed, so that a repetition means the same result.

    Below zero is no seed: RunComfy's models read -1 as "choose one".
    """
    name = card.checks.seed_field if card and card.checks else None
    seed = value.get(name) if name else None
    return isinstance(seed, int) and not isinstance(seed, bool) and seed >= 0


def _shape_errors(value: object) -> tuple[FieldError, ...]:
    if not isinstance(value, dict):
        return (FieldError("", "must be of type object"),)
    if is_nested_deeper(value, MAX_DEPTH):
        return (FieldError("", f"must not be nested deeper than {MAX_DEPTH} levels"),)
    return ()


def _input_errors(
    checks: InputChecks, value: Mapping[str, object], files: NamedFiles
) -> tuple[FieldError, ...]:
    errors = checks.validator.errors(value)
    if errors:
        return errors
    broken = (rule.check(value, checks.defaults) for rule in checks.rules)
    wrong = (quantity.error(value.get(quantity.field)) for quantity in checks.quantities)
    found = [error for error in (*broken, *wrong) if error]
    return tuple([*found, *media_errors(checks.media, value, files)][:MAX_ERRORS])


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
    surcharges = tuple(_parse_surcharge(entry) for entry in _entries(document, "surcharges"))
    extensions = LocalExtensions(
        forbid_unknown_fields=document.get("unknown_fields") == "refuse",
        media=tuple(_parse_media_field(entry) for entry in _entries(document, "media")),
        rules=tuple(parse_rule(_to_strings(entry)) for entry in _entries(document, "rules")),
        price=_parse_price(document, surcharges),
    )
    return parse_card(str(document["model_id"]), document_fields, CardSource.LOCAL, extensions)


def overlay_card(local: ModelCard, entry: Mapping[str, object]) -> ModelCard:
    """Return RunComfy's entry of a model with what the gateway's own card adds to it.

    The entry's name, description, kind, price and fields count; rules, surcharges and whatever the
    entry lacks or has in an unusable form are the card's.
    """
    own = local.source_document
    usable = {
        name: value
        for name, value in entry.items()
        if value is not None and (name not in own or _is_of_kind(value, own[name]))
    }
    document = {**own, **usable}
    card = parse_card(local.model_id, document, CardSource.BOTH, local.extensions)
    if card.checks is not None:
        return card
    document["input_schema"] = own.get("input_schema")
    return parse_card(local.model_id, document, CardSource.BOTH, local.extensions)


def _is_of_kind(value: object, example: object) -> bool:
    if isinstance(example, int | float):
        return from_usd(value) is not None  # the only numbers of a card are prices
    return isinstance(value, type(example)) and value not in ("", [], {})


def parse_card(
    model_id: str,
    document: Mapping[str, object],
    source: CardSource,
    extensions: LocalExtensions = NO_LOCAL_EXTENSIONS,
) -> ModelCard:
    """Parse a document of RunComfy's catalogue; any field may be missing."""
    name = document.get("display_name")
    checks, remarks = _build_checks(document.get("input_schema"), extensions)
    return ModelCard(
        model_id=model_id,
        display_name=name if isinstance(name, str) and name else model_id,
        description=_text_of(document, "description"),
        kind=_text_of(document, "kind"),
        categories=_parse_texts(document.get("categories")),
        source=source,
        price=_price_of(document, extensions.price),
        checks=checks,
        remarks=remarks,
        source_document=document,
        extensions=extensions,
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
    media = _merge_media(media_fields(schema), extensions.media)
    empty = frozenset(str(one.path[0]) for one in media if one.allows_empty and len(one.path) == 1)
    checks = InputChecks(
        replace(validator, empty_fields=empty),
        defaults_of(read.schema),
        media,
        extensions.rules,
        quantities_of_schema(read.schema),
        _seed_field(read.schema),
    )
    return checks, read.remarks


def _merge_media(listed: Iterable[MediaField], own: Iterable[MediaField]) -> tuple[MediaField, ...]:
    """Return RunComfy's media fields with the formats of the gateway's own card, and its others."""
    by_path = {entry.path: entry for entry in listed}
    for entry in own:
        known = by_path.get(entry.path)
        by_path[entry.path] = replace(known, subtypes=entry.subtypes) if known else entry
    return tuple(by_path.values())


def _seed_field(schema: Mapping[str, object]) -> str | None:
    fields = schema.get("properties")
    names = [name for name in fields if _SEED.fullmatch(name)] if isinstance(fields, dict) else []
    return min(names, key=len, default=None)


def _price_of(document: Mapping[str, object], local: Price | None) -> Price | None:
    listed = _parse_price(document, ())
    if listed is None or local is None or listed.unit is not local.unit:
        return listed
    return local.at_base_rate(listed.rate)


def _parse_price(document: Mapping[str, object], surcharges: tuple[Surcharge, ...]) -> Price | None:
    rate, unit = from_usd(document.get("base_price_usd")), document.get("price_unit")
    if rate is None or not isinstance(unit, str) or unit not in tuple(PriceUnit):
        return None
    return Price(PriceUnit(unit), rate, surcharges)


def _text_of(document: Mapping[str, object], name: str) -> str:
    value = document.get(name)
    return value if isinstance(value, str) else ""


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
