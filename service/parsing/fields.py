"""Parses named fields: a parser raises `InvalidField`, and the errors of all fields are reported.

Pure. Other modules define the names and choose a parser for each.
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
"""Unknown names are truncated to this length in error messages."""
UNREADABLE_OPTION: Final = ""
"""The only option of a query that could not be read; no model has a field of that name."""
REPEATABLE_OPTION: Final = "label"
"""The only option that a query may name more than once: its values are joined with commas."""
_ALLOW_HINT: Final = "; an operator can allow it by GATEWAY_WEBHOOKS__ALLOWED_TARGETS"
_MAX_FIELDS: Final = 64
_MAX_DIGITS: Final = 20
_USD: Final = re.compile(USD_PATTERN)
_BOOLEANS: Final = {
    **dict.fromkeys(("true", "1", "yes", "on"), True),
    **dict.fromkeys(("false", "0", "no", "off"), False),
}

T = TypeVar("T")
W = TypeVar("W", bound=StrEnum)


class InvalidField(ValueError):
    """The value is invalid for its field; the message describes a valid one."""


def parse_fields(
    fields: Mapping[str, T], parse: Callable[[str, T], Any], path: str
) -> tuple[dict[str, Any], tuple[FieldError, ...]]:
    """Parse each field. Returns the valid values, and an error for each other field.

    The errors' paths begin with `path`.
    """
    errors: list[FieldError] = []
    values: dict[str, Any] = {}
    for name, value in fields.items():
        try:
            values[name] = parse(name, value)
        except InvalidField as error:
            errors.append(FieldError(f"{path}{name[:MAX_ECHOED_CHARS]}", str(error)))
    return values, tuple(errors)


def parse_query(query: str) -> Mapping[str, str]:
    """Parse a query. Raises `MalformedRequest` for duplicates, too many fields, invalid UTF-8."""
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
        return _join_repeated(pairs)
    return fields


def _join_repeated(pairs: Sequence[tuple[str, str]]) -> Mapping[str, str]:
    fields: dict[str, str] = {}
    for name, value in pairs:
        if name in fields and name != REPEATABLE_OPTION:
            raise MalformedRequest("The query names an option twice.")
        fields[name] = f"{fields[name]},{value}" if name in fields else value
    return fields


def parse_query_fields(
    fields: Mapping[str, str], parsers: Mapping[str, Callable[[str], Any]]
) -> dict[str, Any]:
    """Parse the fields of a query. Raises `MalformedRequest`, which names every wrong one."""

    def parse(name: str, text: str) -> object:
        if name not in parsers:
            raise InvalidField(f"is none of {', '.join(parsers)}")
        return parsers[name](text)

    values, errors = parse_fields(fields, parse, "?")
    raise_query_errors(errors)
    return values


def raise_query_errors(errors: Sequence[FieldError]) -> None:
    """Raise `MalformedRequest` if there are errors."""
    if errors:
        raise query_error(errors)


def query_error(errors: Sequence[FieldError]) -> MalformedRequest:
    """Return the error that names these options of a query."""
    named = ", ".join(error.path for error in errors[:3])
    return MalformedRequest(f"Options of the query are wrong: {named}.", fields=tuple(errors))


def parse_integer(text: str, minimum: int, maximum: int, unit: str = "") -> int:
    """Parse an integer in decimal digits."""
    is_number = text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS
    if not is_number or not minimum <= int(text) <= maximum:
        raise InvalidField(f"must be a whole number{unit} from {minimum} to {maximum}")
    return int(text)


def parse_boolean(text: str) -> bool:
    """Parse `true`, `1`, `yes`, `on`, or `false`, `0`, `no`, `off`."""
    word = text.lower()
    if word not in _BOOLEANS:
        raise InvalidField("must be true or false")
    return _BOOLEANS[word]


def parse_timestamp(text: str) -> datetime:
    """Parse a time in ISO 8601; without a time zone it is UTC."""
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidField("must be an instant, such as 2026-11-22T08:00:00Z") from error
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def parse_printable(text: str) -> str:
    """Check a string of the caller: not too long, and printable."""
    if not 0 < len(text) <= MAX_REFERENCE_LENGTH or not text.isprintable():
        raise InvalidField(f"must be 1 to {MAX_REFERENCE_LENGTH} printable characters")
    return text


def enum_parser(kind: type[W]) -> Callable[[object], W]:
    """Return a parser of the values of `kind`."""
    by_value: Mapping[object, W] = {member.value: member for member in kind}

    def parse(value: object) -> W:
        member = by_value.get(value) if isinstance(value, str) else None
        if member is None:
            raise InvalidField(f"must be one of {', '.join(kind)}")
        return member

    return parse


def parse_usd(value: object) -> MicroUsd:
    """Parse an amount in USD: a number, or a string of digits."""
    is_amount = not isinstance(value, str) or _USD.fullmatch(value)
    amount = from_usd(value) if is_amount else None
    if amount is None:
        raise InvalidField("must be an amount in USD, such as 1.50")
    return amount


def parse_webhook_url(url: str, policy: TargetPolicy) -> str:
    """Check that webhooks may be sent to `url`, and return it."""
    checked = check_url(url, policy)
    if isinstance(checked, Refusal):
        raise InvalidField(checked.message + (_ALLOW_HINT if checked.is_allowable else ""))
    return url
