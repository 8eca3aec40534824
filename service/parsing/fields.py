"""What callers wrote, read by tables of names: a reader raises `Unfit`, and every fault is named.

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

MOST_REFERENCE_CHARS: Final = 256
USD_PATTERN: Final = r"[0-9]{1,9}(?:\.[0-9]{1,6})?"
MOST_SHOWN: Final = 64
"""Characters that are told of a name that nobody knows."""
_MOST_FIELDS: Final = 64
_MOST_DIGITS: Final = 20
_USD: Final = re.compile(USD_PATTERN)
_FLAGS: Final = {"true": True, "1": True, "false": False, "0": False}

T = TypeVar("T")
W = TypeVar("W", bound=StrEnum)


class Unfit(ValueError):
    """The value does not fit its field; the text says what would."""


def judge(
    fields: Mapping[str, T], read: Callable[[str, T], Any], path: str
) -> tuple[dict[str, Any], tuple[FieldError, ...]]:
    """What `read` makes of each field, and what is wrong with the others; `path` begins theirs."""
    wrong: list[FieldError] = []
    values: dict[str, Any] = {}
    for name, value in fields.items():
        try:
            values[name] = read(name, value)
        except Unfit as unfit:
            wrong.append(FieldError(f"{path}{name[:MOST_SHOWN]}", str(unfit)))
    return values, tuple(wrong)


def read_query(query: str) -> Mapping[str, str]:
    """A query's fields. Raises `MalformedRequest` for one given twice, too many, or no UTF-8."""
    if not query:
        return {}
    try:
        pairs = parse_qsl(
            query, keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS
        )
    except ValueError as error:
        raise MalformedRequest("The query is not readable.") from error
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise MalformedRequest("The query names an option twice.")
    return fields


def read_table(
    fields: Mapping[str, str], readers: Mapping[str, Callable[[str], Any]]
) -> dict[str, Any]:
    """A query's fields by their readers. Raises `MalformedRequest` with every wrong one by name."""

    def read(name: str, text: str) -> object:
        if name not in readers:
            raise Unfit(f"is none of {', '.join(readers)}")
        return readers[name](text)

    values, wrong = judge(fields, read, "?")
    refuse(wrong)
    return values


def refuse(wrong: Sequence[FieldError]) -> None:
    """Raises `MalformedRequest` when anything in a query is wrong."""
    if wrong:
        named = ", ".join(error.path for error in wrong[:3])
        raise MalformedRequest(f"Options of the query are wrong: {named}.", fields=tuple(wrong))


def whole(text: str, least: int, most: int, unit: str = "") -> int:
    """A whole number."""
    known = text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS
    if not known or not least <= int(text) <= most:
        raise Unfit(f"must be a whole number{unit} from {least} to {most}")
    return int(text)


def flag(text: str) -> bool:
    """A yes or no."""
    word = text.lower()
    if word not in _FLAGS:
        raise Unfit("must be true or false")
    return _FLAGS[word]


def instant(text: str) -> datetime:
    """An instant (ISO 8601); one without a zone is UTC."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise Unfit("must be an instant, such as 2026-11-22T08:00:00Z") from error
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def printable(text: str) -> str:
    """A caller's own string, or a name."""
    if not 0 < len(text) <= MOST_REFERENCE_CHARS or not text.isprintable():
        raise Unfit(f"must be 1 to {MOST_REFERENCE_CHARS} printable characters")
    return text


def word(kind: type[W]) -> Callable[[object], W]:
    """A reader of one word of a closed set."""

    def read(value: object) -> W:
        if not isinstance(value, str) or value not in list(kind):
            raise Unfit(f"must be one of {', '.join(kind)}")
        return kind(value)

    return read


def usd(value: object) -> MicroUsd:
    """An amount in USD: a number, or its digits."""
    readable = not isinstance(value, str) or _USD.fullmatch(value)
    amount = from_usd(value) if readable else None
    if amount is None:
        raise Unfit("must be an amount in USD, such as 1.50")
    return amount


def receiver(url: str, policy: TargetPolicy) -> str:
    """A URL that callbacks may be sent to."""
    judged = check_url(url, policy)
    if isinstance(judged, Refusal):
        raise Unfit(judged.message)
    return url
