"""Parses the body of a batch; the inputs of its items are kept byte for byte. Pure.

An error of the body as a whole is raised; an error of one item is kept with the item.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from core.batches import MAX_BATCH_ITEMS, AdmissionMode
from core.errors import (
    BodyTooLarge,
    CallerError,
    FieldError,
    InvalidInput,
    MalformedRequest,
)
from core.labels import MAX_LABELS, Labels, merge_labels
from service.jobs.submit_options import (
    SUBMIT_OPTIONS,
    OptionPolicy,
    SubmitOptions,
    parse_option_values,
)
from service.parsing.fields import InvalidField
from service.parsing.json_body import BATCH_VALUES, parse_object
from service.parsing.json_offsets import TextRange, locate_elements, locate_fields
from service.parsing.labels import parse_label_object

_LABELS: Final = "labels"
_BATCH_FIELDS: Final = frozenset({"items", "admit", "reference", "webhook", _LABELS})
_SHARED_OPTIONS: Final = ("reference", "webhook")
"""The options of a submit that the batch itself has too."""
_ITEM_FIELDS: Final = frozenset({"model_id", "input"})


@dataclass(frozen=True, slots=True)
class ParsedBatchItem:
    """One item: `body` is its input, byte for byte.

    `error`: why it cannot become a job; `body` is then the whole item as it was sent.
    """

    index: int
    model_id: str = ""
    body: bytes = b""
    options: SubmitOptions = SubmitOptions()  # noqa: RUF009 - frozen
    error: CallerError | None = None


@dataclass(frozen=True, slots=True)
class ParsedBatch:
    """The parsed body of a batch."""

    items: tuple[ParsedBatchItem, ...]
    admission_mode: AdmissionMode = AdmissionMode.ALL_OR_NOTHING
    reference: str | None = None
    webhook: str | None = None


def parse_batch(
    body: bytes, policy: OptionPolicy, max_input_bytes: int, labels: Labels = ()
) -> ParsedBatch:
    """Parse a batch. An input has at most `max_input_bytes` bytes. Raises `MalformedRequest`.

    Each item has the labels of the call (`labels`), of the batch, and its own, which come first.
    """
    value = parse_object(body, BATCH_VALUES)
    text = body.decode()
    fields = locate_fields(text)
    wrong = [*_unknown_field_errors(value), *_items_errors(value.get("items"))]
    admit, wrong_admit = _parse_admission_mode(value)
    own: dict[str, Any] = {
        name: value[name] for name in (*_SHARED_OPTIONS, _LABELS) if name in value
    }
    options, wrong_options = _parse_options(own, policy, "/")
    wrong += [*wrong_admit, *wrong_options]
    if wrong:
        raise _malformed(tuple(wrong))
    ranges = locate_elements(text, fields["items"][0])
    shared = merge_labels(labels, options.label)
    items = tuple(
        _with_labels(item, shared)
        for item in _parse_items(text, value["items"], ranges, policy, max_input_bytes)
    )
    return ParsedBatch(items, admit, options.reference, options.webhook)


def _with_labels(item: ParsedBatchItem, shared: Labels) -> ParsedBatchItem:
    if not shared or item.error is not None:
        return item
    labels = merge_labels(shared, item.options.label)
    if len(labels) > MAX_LABELS:
        error = FieldError("/labels", f"must be {MAX_LABELS} labels at most, with the batch's own")
        return ParsedBatchItem(item.index, body=item.body, error=_invalid_item(error))
    return replace(item, options=replace(item.options, label=labels))


def _malformed(errors: tuple[FieldError, ...]) -> MalformedRequest:
    first = errors[0]
    return MalformedRequest(f"The body does not fit: {first.path} {first.message}.", fields=errors)


def _unknown_field_errors(value: Mapping[str, Any]) -> Iterator[FieldError]:
    for name in sorted(value.keys() - _BATCH_FIELDS):
        yield FieldError(f"/{name[:64]}", "is not a field of a batch")


def _items_errors(items: Any) -> Iterator[FieldError]:  # noqa: ANN401 - JSON
    if not isinstance(items, list) or not 0 < len(items) <= MAX_BATCH_ITEMS:
        yield FieldError("/items", f"must be a list of 1 to {MAX_BATCH_ITEMS:,} items")


def _parse_admission_mode(value: Mapping[str, Any]) -> tuple[AdmissionMode, list[FieldError]]:
    mode = value.get("admit", AdmissionMode.ALL_OR_NOTHING)
    if mode not in list(AdmissionMode):
        return AdmissionMode.ALL_OR_NOTHING, [
            FieldError("/admit", f"must be one of {', '.join(AdmissionMode)}")
        ]
    return AdmissionMode(mode), []


def _parse_items(
    text: str,
    values: list[Any],
    ranges: Iterator[TextRange],
    policy: OptionPolicy,
    max_input_bytes: int,
) -> Iterator[ParsedBatchItem]:
    for index, (value, (begin, end)) in enumerate(zip(values, ranges, strict=True)):
        try:
            if not isinstance(value, dict):
                raise _invalid_item(FieldError("", "must be an object"))
            given = locate_fields(text, begin).get("input")
            raw = b"" if given is None else text[slice(*given)].encode()
            if len(raw) > max_input_bytes:
                raise BodyTooLarge(f"The input is larger than {max_input_bytes:,} bytes.")
            yield _parse_item(index, value, raw, policy)
        except CallerError as fault:
            yield ParsedBatchItem(index, body=text[begin:end].encode(), error=fault)


def _parse_item(
    index: int, value: Mapping[str, Any], raw: bytes, policy: OptionPolicy
) -> ParsedBatchItem:
    wrong = []
    if not isinstance(value.get("model_id"), str):
        wrong.append(FieldError("/model_id", "is needed: RunComfy's id of the model"))
    if not isinstance(value.get("input"), dict):
        wrong.append(FieldError("/input", "is needed: an object, the model's input"))
    given = {name: value[name] for name in value if name not in _ITEM_FIELDS}
    options, wrong_options = _parse_options(given, policy, "/")
    wrong += wrong_options
    if wrong:
        raise _invalid_item(*wrong)
    return ParsedBatchItem(index, value["model_id"], raw, options)


def _invalid_item(*errors: FieldError) -> InvalidInput:
    first = errors[0]
    return InvalidInput(f"The item does not fit: {first.path} {first.message}.", fields=errors)


def _parse_options(
    values: Mapping[str, Any], policy: OptionPolicy, path: str
) -> tuple[SubmitOptions, list[FieldError]]:
    """Parse options in JSON: the names of a submit's query, each with a JSON value, and labels."""
    texts: dict[str, str] = {}
    labels, errors = _parse_labels(values[_LABELS], path) if _LABELS in values else ((), [])
    for name, value in values.items():
        if name == _LABELS:
            continue
        option = SUBMIT_OPTIONS.get(name)
        if option is not None and not option.for_items:
            errors.append(FieldError(f"{path}{name}", "is not an option of an item"))
            continue
        what, types = _ANY_SCALAR if option is None else _JSON_TYPES[option.schema["type"]]
        if _is_one_of(value, types):
            texts[name] = _to_query_text(value)
        else:
            errors.append(FieldError(f"{path}{name[:64]}", f"must be {what}"))
    options, more = parse_option_values(texts, policy, path)
    return replace(options, label=labels), [*errors, *more]


def _parse_labels(value: object, path: str) -> tuple[Labels, list[FieldError]]:
    try:
        return parse_label_object(value), []
    except InvalidField as error:
        return (), [FieldError(f"{path}{_LABELS}", str(error))]


_ANY_SCALAR: Final = ("a text, a number or a boolean", (str, int, float, bool))
_JSON_TYPES: Final[Mapping[str, tuple[str, tuple[type, ...]]]] = {
    "string": ("a text", (str,)),
    "boolean": ("true or false", (bool,)),
    "integer": ("a whole number", (int, float)),
    "number": ("an amount in USD, such as 1.50", (int, float, str)),
}
"""What an option's value may be in JSON, by the type in its JSON Schema.

Amounts may be texts, so that no digit is lost.
"""


def _is_one_of(value: object, types: tuple[type, ...]) -> bool:
    """Return whether `value` is of one of these types; a Python boolean is an integer too."""
    return bool in types if isinstance(value, bool) else isinstance(value, types)


def _to_query_text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))  # 5.0 is an integer in JSON Schema
    return str(value)
