"""Parses fields by tables of names: a reader raises `InvalidField`, and every error is reported.

Pure. Which names there are, and which of the readers here belongs to each, other modules say.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final, TypeVar
from urllib.parse import parse_qsl

from core.errors import FieldError, MalformedRequest
from core.money import MicroUsd, from_usd
from core.webhooks.url_policy import Refusal, TargetPolicy, check_url

MAX_REFERENCE_LENGTH: Final = 256
USD_PATTERN: Final = r"[0-9]{1,9}(?:\.[0-9]{1,6})?"
MAX_ECHOED_CHARS: Final = 64
"""Characters that are told of a name that nobody knows."""
_MAX_FIELDS: Final = 64
_MAX_DIGITS: Final = 20
_USD: Final = re.compile(USD_PATTERN)
_BOOLEANS: Final = {"true": True, "1": True, "false": False, "0": False}

T = TypeVar("T")
W = TypeVar("W", bound=StrEnum)


class InvalidField(ValueError):
    """The value does not fit its field; the text says what would."""


def parse_fields(
    fields: Mapping[str, T], parse: Callable[[str, T], Any], path: str
) -> tuple[dict[str, Any], tuple[FieldError, ...]]:
    """What `read` makes of each field, and what is wrong with the others; `path` begins theirs."""
    wrong: list[FieldError] = []
    values: dict[str, Any] = {}
    for name, value in fields.items():
        try:
            values[name] = parse(name, value)
        except InvalidField as unfit:
            wrong.append(FieldError(f"{path}{name[:MAX_ECHOED_CHARS]}", str(unfit)))
    return values, tuple(wrong)


def parse_query(query: str) -> Mapping[str, str]:
    """A query's fields. Raises `MalformedRequest` for one given twice, too many, or no UTF-8."""
    if not query:
        return {}
    try:
        pairs = parse_qsl(
            query, keep_blank_values=True, errors="strict", max_num_fields=_MAX_FIELDS
        )
    except ValueError as error:
        raise MalformedRequest("The query is not readable.") from error
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise MalformedRequest("The query names an option twice.")
    return fields


def parse_query_fields(
    fields: Mapping[str, str], parsers: Mapping[str, Callable[[str], Any]]
) -> dict[str, Any]:
    """A query's fields by their readers. Raises `MalformedRequest` with every wrong one by name."""

    def read(name: str, text: str) -> object:
        if name not in parsers:
            raise InvalidField(f"is none of {', '.join(parsers)}")
        return parsers[name](text)

    values, wrong = parse_fields(fields, read, "?")
    raise_query_errors(wrong)
    return values


def raise_query_errors(errors: Sequence[FieldError]) -> None:
    """Raises `MalformedRequest` when anything in a query is wrong."""
    if errors:
        raise query_error(errors)


def query_error(errors: Sequence[FieldError]) -> MalformedRequest:
    """Return the error for these options of a query."""
    named = ", ".join(error.path for error in errors[:3])
    return MalformedRequest(f"Options of the query are wrong: {named}.", fields=tuple(errors))


def parse_integer(text: str, minimum: int, maximum: int, unit: str = "") -> int:
    """A whole number."""
    known = text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS
    if not known or not minimum <= int(text) <= maximum:
        raise InvalidField(f"must be a whole number{unit} from {minimum} to {maximum}")
    return int(text)


def parse_boolean(text: str) -> bool:
    """A yes or no."""
    word = text.lower()
    if word not in _BOOLEANS:
        raise InvalidField("must be true or false")
    return _BOOLEANS[word]


def parse_timestamp(text: str) -> datetime:
    """An instant (ISO 8601); one without a zone is UTC."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidField("must be an instant, such as 2026-11-22T08:00:00Z") from error
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def parse_printable(text: str) -> str:
    """A caller's own string, or a name."""
    if not 0 < len(text) <= MAX_REFERENCE_LENGTH or not text.isprintable():
        raise InvalidField(f"must be 1 to {MAX_REFERENCE_LENGTH} printable characters")
    return text


def enum_parser(kind: type[W]) -> Callable[[object], W]:
    """A reader of one word of a closed set."""

    def read(value: object) -> W:
        if not isinstance(value, str) or value not in list(kind):
            raise InvalidField(f"must be one of {', '.join(kind)}")
        return kind(value)

    return read


def parse_usd(value: object) -> MicroUsd:
    """An amount in USD: a number, or its digits."""
    readable = not isinstance(value, str) or _USD.fullmatch(value)
    amount = from_usd(value) if readable else None
    if amount is None:
        raise InvalidField("must be an amount in USD, such as 1.50")
    return amount


def parse_webhook_url(url: str, policy: TargetPolicy) -> str:
    """A URL that callbacks may be sent to."""
    judged = check_url(url, policy)
    if isinstance(judged, Refusal):
        raise InvalidField(judged.message)
    return url
