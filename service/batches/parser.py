"""What the body of a batch asks for: its fields; its items, with their inputs as they came. Pure.

What is wrong with the body as a whole is raised; what is wrong with an item stays with the item.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from core.batches import MOST_ITEMS, Admit
from core.errors import (
    BodyTooLarge,
    CallerError,
    FieldError,
    InvalidInput,
    MalformedRequest,
)
from service.jobs.submit_options import OptionPolicy, SubmitOptions, judge_options
from service.parsing.json_body import read_object
from service.parsing.json_offsets import Span, elements_at, fields_at

_OWN: Final = frozenset({"items", "admit", "reference", "webhook"})
_SHARED: Final = ("reference", "webhook")
"""What a batch itself has of a submit's options."""
_OF_ITEM: Final = frozenset({"model_id", "input"})
_NOT_OF_ITEM: Final = frozenset({"dry_run"})


@dataclass(frozen=True, slots=True)
class ItemDraft:
    """One item: `body` is its input, byte for byte.

    `fault`: why it cannot become a job; `body` is then the item as it came.
    """

    index: int
    model_id: str = ""
    body: bytes = b""
    options: SubmitOptions = SubmitOptions()  # noqa: RUF009 - frozen
    fault: CallerError | None = None


@dataclass(frozen=True, slots=True)
class BatchDraft:
    """What a batch's body asks for."""

    items: tuple[ItemDraft, ...]
    admit: Admit = Admit.ALL
    reference: str | None = None
    webhook: str | None = None


def read_batch(body: bytes, policy: OptionPolicy, most_input: int) -> BatchDraft:
    """The batch. An input has at most `most_input` bytes. Raises `MalformedRequest`."""
    value = read_object(body)
    text = body.decode()
    spans = fields_at(text)
    wrong = [*_wrong_names(value), *_wrong_items(value.get("items"))]
    admit, wrong_admit = _read_admit(value)
    own: dict[str, Any] = {name: value[name] for name in _SHARED if name in value}
    options, wrong_options = _read_options(own, policy, "/")
    wrong += [*wrong_admit, *wrong_options]
    if wrong:
        raise _malformed(tuple(wrong))
    places = elements_at(text, spans["items"][0])
    items = tuple(_read_items(text, value["items"], places, policy, most_input))
    return BatchDraft(items, admit, options.reference, options.webhook)


def _malformed(wrong: tuple[FieldError, ...]) -> MalformedRequest:
    first = wrong[0]
    return MalformedRequest(f"The body does not fit: {first.path} {first.message}.", fields=wrong)


def _wrong_names(value: Mapping[str, Any]) -> Iterator[FieldError]:
    for name in sorted(value.keys() - _OWN):
        yield FieldError(f"/{name[:64]}", "is not a field of a batch")


def _wrong_items(items: Any) -> Iterator[FieldError]:  # noqa: ANN401 - JSON
    if not isinstance(items, list) or not 0 < len(items) <= MOST_ITEMS:
        yield FieldError("/items", f"must be a list of 1 to {MOST_ITEMS:,} items")


def _read_admit(value: Mapping[str, Any]) -> tuple[Admit, list[FieldError]]:
    asked = value.get("admit", Admit.ALL)
    if asked not in list(Admit):
        return Admit.ALL, [FieldError("/admit", f"must be one of {', '.join(Admit)}")]
    return Admit(asked), []


def _read_items(
    text: str,
    values: list[Any],
    places: Iterator[Span],
    policy: OptionPolicy,
    most_input: int,
) -> Iterator[ItemDraft]:
    for index, (value, (begin, end)) in enumerate(zip(values, places, strict=True)):
        try:
            if not isinstance(value, dict):
                raise _unfit(FieldError("", "must be an object"))
            given = fields_at(text, begin).get("input")
            raw = b"" if given is None else text[slice(*given)].encode()
            if len(raw) > most_input:
                raise BodyTooLarge(f"The input is larger than {most_input:,} bytes.")
            yield _read_item(index, value, raw, policy)
        except CallerError as fault:
            yield ItemDraft(index, body=text[begin:end].encode(), fault=fault)


def _read_item(index: int, value: Mapping[str, Any], raw: bytes, policy: OptionPolicy) -> ItemDraft:
    wrong = []
    if not isinstance(value.get("model_id"), str):
        wrong.append(FieldError("/model_id", "is needed: RunComfy's id of the model"))
    if not isinstance(value.get("input"), dict):
        wrong.append(FieldError("/input", "is needed: an object, the model's input"))
    given = {name: value[name] for name in value if name not in _OF_ITEM}
    options, wrong_options = _read_options(given, policy, "/")
    wrong += wrong_options
    if wrong:
        raise _unfit(*wrong)
    return ItemDraft(index, value["model_id"], raw, options)


def _unfit(*wrong: FieldError) -> InvalidInput:
    first = wrong[0]
    return InvalidInput(f"The item does not fit: {first.path} {first.message}.", fields=wrong)


def _read_options(
    values: Mapping[str, Any], policy: OptionPolicy, path: str
) -> tuple[SubmitOptions, list[FieldError]]:
    """Options by the names of a submit's query, each as JSON has such a thing."""
    texts, wrong = {}, []
    for name, value in values.items():
        kind = _KINDS.get(name, _ANY)
        if name in _NOT_OF_ITEM:
            wrong.append(FieldError(f"{path}{name}", "is not an option of an item"))
        elif not kind.fits(value):
            wrong.append(FieldError(f"{path}{name[:64]}", f"must be {kind.name}"))
        else:
            texts[name] = _text(value)
    options, wrong_options = judge_options(texts, policy, path)
    return options, [*wrong, *wrong_options]


@dataclass(frozen=True, slots=True)
class _Kind:
    """What JSON may say for an option."""

    name: str
    types: tuple[type, ...]

    def fits(self, value: object) -> bool:
        """Whether `value` is of this kind; to Python a boolean is a number too."""
        if isinstance(value, bool):
            return bool in self.types
        return isinstance(value, self.types)


_ANY: Final = _Kind("a text, a number or a boolean", (str, int, float, bool))
_TEXT: Final = _Kind("a text", (str,))
_WHOLE: Final = _Kind("a whole number", (int, float))
_KINDS: Final[Mapping[str, _Kind]] = {
    "webhook": _TEXT,
    "reference": _TEXT,
    "priority": _TEXT,
    "cache": _TEXT,
    "webhook_intermediate_status": _Kind("true or false", (bool,)),
    "timeout": _WHOLE,
    "start_timeout": _WHOLE,
    "max_cost": _Kind("an amount in USD, such as 1.50", (int, float, str)),
}


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))  # a whole number in JSON Schema's sense
    return str(value)
