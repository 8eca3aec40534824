"""What a submit's query asks for: one table of names and readers. Pure; knows no HTTP.

Unknown names are refused: a typo in `max_cost` must not cost money.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from difflib import get_close_matches
from typing import Any, Final

from core.errors import FieldError
from core.money import MicroUsd
from core.tenants.cache_policy import CacheOption
from core.tenants.limits import Priority
from core.webhooks.url_policy import TargetPolicy
from service.parsing.fields import (
    MAX_ECHOED_CHARS,
    InvalidField,
    enum_parser,
    parse_boolean,
    parse_fields,
    parse_integer,
    parse_printable,
    parse_query,
    parse_usd,
    parse_webhook_url,
    raise_query_errors,
)

MAX_OFFSET: Final = 999_999_999
"""The largest offset of a page; far beyond any list."""


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long a job of one model may take: to its end, and until it starts (None: to its end)."""

    timeout: timedelta
    start_timeout: timedelta | None = None


@dataclass(frozen=True, slots=True)
class OptionPolicy:
    """What callers may ask for. `by_model` replaces `deadlines` for the models that it names."""

    deadlines: Deadlines
    max_deadlines: Deadlines
    target_policy: TargetPolicy
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


def parse_options(query: str, policy: OptionPolicy) -> SubmitOptions:
    """The options of a submit. Raises `MalformedRequest` with every wrong option by name."""
    options, wrong = parse_option_values(parse_query(query), policy, "?")
    raise_query_errors(wrong)
    return options


def parse_option_values(
    values_by_name: Mapping[str, str], policy: OptionPolicy, path: str
) -> tuple[SubmitOptions, tuple[FieldError, ...]]:
    """The options that are right, and what is wrong with the others; `path` begins their paths."""

    def read(name: str, text: str) -> object:
        if name not in OPTION_PARSERS:
            raise InvalidField(_unknown_option(name))
        return OPTION_PARSERS[name](text, policy)

    values, wrong = parse_fields(values_by_name, read, path)
    named = {_FIELD_NAMES.get(name, name): value for name, value in values.items()}
    return SubmitOptions(**named), wrong


def _unknown_option(name: str) -> str:
    near = get_close_matches(name, OPTION_PARSERS, n=1) if len(name) <= MAX_ECHOED_CHARS else []
    return f"is not an option; did you mean {near[0]}?" if near else "is not an option"


def _parse_timeout(text: str, policy: OptionPolicy) -> timedelta:
    return _parse_seconds(text, policy.max_deadlines.timeout)


def _parse_start_timeout(text: str, policy: OptionPolicy) -> timedelta:
    return _parse_seconds(text, policy.max_deadlines.start_timeout or policy.max_deadlines.timeout)


def _parse_seconds(text: str, maximum: timedelta) -> timedelta:
    return timedelta(seconds=parse_integer(text, 1, int(maximum.total_seconds()), " of seconds"))


def _parse_priority(text: str) -> Priority:
    if text not in PRIORITIES:
        raise InvalidField(f"must be one of {', '.join(PRIORITIES)}")
    return PRIORITIES[text]


PRIORITIES: Final = {priority.name.lower(): priority for priority in Priority}

_parse_cache: Final = enum_parser(CacheOption)
OPTION_PARSERS: Final[Mapping[str, Callable[[str, OptionPolicy], Any]]] = {
    "webhook": lambda text, policy: parse_webhook_url(text, policy.target_policy),
    "webhook_intermediate_status": lambda text, _: parse_boolean(text),
    "timeout": _parse_timeout,
    "start_timeout": _parse_start_timeout,
    "max_cost": lambda text, _: parse_usd(text),
    "priority": lambda text, _: _parse_priority(text),
    "reference": lambda text, _: parse_printable(text),
    "cache": lambda text, _: _parse_cache(text),
    "dry_run": lambda text, _: parse_boolean(text),
}
_FIELD_NAMES: Final = {"webhook_intermediate_status": "webhook_intermediate"}
