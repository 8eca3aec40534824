"""What a submit's query asks for: one table of names and readers. Pure; knows no HTTP.

Unknown names are refused: a typo in `max_cost` must not cost money.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from difflib import get_close_matches
from typing import Any, Final
from urllib.parse import parse_qsl

from core.errors import FieldError, MalformedRequest
from core.limits import Priority
from core.money import MicroUsd, from_usd
from core.reuse import CacheOption
from core.targets import Refusal, TargetPolicy, check_url

MOST_REFERENCE_CHARS: Final = 256
FARTHEST: Final = 999_999_999
"""The largest offset of a page; far beyond any list."""
_MOST_OPTIONS: Final = 64
_MOST_SHOWN: Final = 64
_MOST_DIGITS: Final = 20
_USD: Final = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,6})?")


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long a job of one model may take: to its end, and until it starts (None: to its end)."""

    timeout: timedelta
    start_timeout: timedelta | None = None


@dataclass(frozen=True, slots=True)
class OptionPolicy:
    """What callers may ask for. `by_model` replaces `deadlines` for the models that it names."""

    deadlines: Deadlines
    maximum: Deadlines
    targets: TargetPolicy
    by_model: Mapping[str, Deadlines] = field(default_factory=dict)

    def deadlines_of(self, model_id: str) -> Deadlines:
        """What holds for a job of `model_id` that asks for nothing."""
        return self.by_model.get(model_id, self.deadlines)


@dataclass(frozen=True, slots=True)
class SubmitOptions:
    """A submit's options; None where the caller left it to us."""

    webhook: str | None = None
    webhook_intermediate: bool = False
    timeout: timedelta | None = None
    start_timeout: timedelta | None = None
    max_cost: MicroUsd | None = None
    priority: Priority = Priority.NORMAL
    reference: str | None = None
    cache: CacheOption | None = None
    dry_run: bool = False


class _Unfit(ValueError):
    """The value does not fit its option; the text says what would."""


def read_options(query: str, policy: OptionPolicy) -> SubmitOptions:
    """The options of a submit. Raises `MalformedRequest` with every wrong option by name."""
    pairs = read_query(query)
    wrong: list[FieldError] = []
    values: dict[str, Any] = {}
    for name, text in pairs.items():
        if name not in READERS:
            wrong.append(FieldError(f"?{name[:_MOST_SHOWN]}", _unknown(name)))
            continue
        try:
            values[_FIELDS.get(name, name)] = READERS[name](text, policy)
        except _Unfit as unfit:
            wrong.append(FieldError(f"?{name}", str(unfit)))
    if wrong:
        names = ", ".join(error.path for error in wrong[:3])
        raise MalformedRequest(f"Options of the query are wrong: {names}.", fields=tuple(wrong))
    return SubmitOptions(**values)


def read_query(query: str) -> Mapping[str, str]:
    """A query's fields. Raises `MalformedRequest` for one given twice, too many, or no UTF-8."""
    if not query:
        return {}
    try:
        pairs = parse_qsl(
            query, keep_blank_values=True, errors="strict", max_num_fields=_MOST_OPTIONS
        )
    except ValueError as error:
        raise MalformedRequest("The query is not readable.") from error
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise MalformedRequest("The query names an option twice.")
    return fields


def read_flag(text: str) -> bool:
    """A yes or no. Raises `ValueError`."""
    word = text.lower()
    if word not in _FLAGS:
        raise _Unfit("must be true or false")
    return _FLAGS[word]


_FLAGS: Final = {"true": True, "1": True, "false": False, "0": False}


def _unknown(name: str) -> str:
    near = get_close_matches(name, READERS, n=1) if len(name) <= _MOST_SHOWN else []
    return f"is not an option; did you mean {near[0]}?" if near else "is not an option"


def _webhook(text: str, policy: OptionPolicy) -> str:
    judged = check_url(text, policy.targets)
    if isinstance(judged, Refusal):
        raise _Unfit(judged.message)
    return text


def _flag(text: str, _: OptionPolicy) -> bool:
    return read_flag(text)


def _timeout(text: str, policy: OptionPolicy) -> timedelta:
    return _span(text, policy.maximum.timeout)


def _start_timeout(text: str, policy: OptionPolicy) -> timedelta:
    return _span(text, policy.maximum.start_timeout or policy.maximum.timeout)


def _span(text: str, most: timedelta) -> timedelta:
    limit = int(most.total_seconds())
    known = text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS
    if not known or not 0 < int(text) <= limit:
        raise _Unfit(f"must be a whole number of seconds from 1 to {limit}")
    return timedelta(seconds=int(text))


def _max_cost(text: str, _: OptionPolicy) -> MicroUsd:
    amount = from_usd(text) if _USD.fullmatch(text) else None
    if amount is None:
        raise _Unfit("must be an amount in USD, such as 1.50")
    return amount


def _reference(text: str, _: OptionPolicy) -> str:
    if not 0 < len(text) <= MOST_REFERENCE_CHARS or not text.isprintable():
        raise _Unfit(f"must be 1 to {MOST_REFERENCE_CHARS} printable characters")
    return text


def _priority(text: str, _: OptionPolicy) -> Priority:
    if text not in PRIORITIES:
        raise _Unfit(f"must be one of {', '.join(PRIORITIES)}")
    return PRIORITIES[text]


def _cache(text: str, _: OptionPolicy) -> CacheOption:
    if text not in list(CacheOption):
        raise _Unfit(f"must be one of {', '.join(CacheOption)}")
    return CacheOption(text)


PRIORITIES: Final = {priority.name.lower(): priority for priority in Priority}

READERS: Final[Mapping[str, Callable[[str, OptionPolicy], Any]]] = {
    "webhook": _webhook,
    "webhook_intermediate_status": _flag,
    "timeout": _timeout,
    "start_timeout": _start_timeout,
    "max_cost": _max_cost,
    "priority": _priority,
    "reference": _reference,
    "cache": _cache,
    "dry_run": _flag,
}
_FIELDS: Final = {"webhook_intermediate_status": "webhook_intermediate"}
