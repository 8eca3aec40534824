"""The options of a submit: one row for each, with its parser and its description. Pure; no HTTP.

The parsers of a submit's query and of a batch item and the reference of the query are made from
these rows. To add an option, add a row to `SUBMIT_OPTIONS` and a field of the same name to
`SubmitOptions`; batch items and the API reference follow (`for_items=False` keeps it out of them).

Unknown names are rejected: a typo in `max_cost` must not cost money.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from difflib import get_close_matches
from typing import Any, Final

from core.archive import ArchiveRules
from core.errors import FieldError
from core.labels import Labels
from core.money import MicroUsd
from core.tenants.cache_policy import CacheOption
from core.tenants.limits import Priority
from core.webhooks.url_policy import TargetPolicy
from service.parsing.fields import (
    MAX_ECHOED_CHARS,
    MAX_REFERENCE_LENGTH,
    InvalidField,
    enum_parser,
    parse_boolean,
    parse_fields,
    parse_instant,
    parse_integer,
    parse_printable,
    parse_query,
    parse_usd,
    parse_webhook_url,
    raise_query_errors,
)
from service.parsing.labels import LABEL_SCHEMA, parse_label_option

MAX_DELAY: Final = timedelta(days=7)
"""How far ahead the submit of a job may be put off, unless a setting differs."""


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long a job of one model may take until its end, and until its start.

    `start_timeout` None: as long as `timeout`.
    """

    timeout: timedelta
    start_timeout: timedelta | None = None


@dataclass(frozen=True, slots=True)
class OptionPolicy:
    """Defaults and maxima of the options; `by_model` replaces `deadlines` for single models.

    `not_before` is at most `max_delay` ahead. `archive`: whose outputs are kept.
    """

    deadlines: Deadlines
    max_deadlines: Deadlines
    target_policy: TargetPolicy
    by_model: Mapping[str, Deadlines] = field(default_factory=dict)
    max_delay: timedelta = MAX_DELAY
    archive: ArchiveRules = field(default_factory=ArchiveRules)

    def deadlines_of(self, model_id: str) -> Deadlines:
        """Return the defaults for a job of `model_id`."""
        return self.by_model.get(model_id, self.deadlines)


@dataclass(frozen=True, slots=True)
class SubmitOptions:
    """The options of one submit; None: not given, the gateway's or the tenant's default applies."""

    webhook: str | None = None
    webhook_intermediate_status: bool = False
    timeout: timedelta | None = None
    start_timeout: timedelta | None = None
    not_before: datetime | None = None
    max_cost: MicroUsd | None = None
    priority: Priority = Priority.NORMAL
    reference: str | None = None
    label: Labels = ()
    cache: CacheOption | None = None
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class SubmitOption:
    """How one option is read, and how the API reference describes it.

    `schema` is the JSON Schema of its value. `for_items`: an item of a batch may have it too.
    """

    parse: Callable[[str, OptionPolicy], Any]
    schema: Mapping[str, Any]
    description: str
    for_items: bool = True


NO_OPTIONS: Final = SubmitOptions()


def parse_options(query: str, policy: OptionPolicy) -> SubmitOptions:
    """Parse the query of a submit. Raises `MalformedRequest`, which names every wrong option."""
    if not query:
        return NO_OPTIONS
    options, errors = parse_option_values(parse_query(query), policy, "?")
    if errors:
        raise_query_errors(errors)
    return options


def parse_option_values(
    texts: Mapping[str, str], policy: OptionPolicy, path: str
) -> tuple[SubmitOptions, tuple[FieldError, ...]]:
    """Parse options by name. Returns the valid ones, and an error for each other.

    The errors' paths begin with `path`.
    """

    def parse(name: str, text: str) -> object:
        if name not in SUBMIT_OPTIONS:
            raise InvalidField(_unknown_option(name))
        return SUBMIT_OPTIONS[name].parse(text, policy)

    values, errors = parse_fields(texts, parse, path)
    return SubmitOptions(**values), errors


def _unknown_option(name: str) -> str:
    near = get_close_matches(name, SUBMIT_OPTIONS, n=1) if len(name) <= MAX_ECHOED_CHARS else []
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
_FLAG: Final = {"type": "boolean", "default": False}
_SECONDS: Final = {"type": "integer", "minimum": 1}

SUBMIT_OPTIONS: Final[Mapping[str, SubmitOption]] = {
    "webhook": SubmitOption(
        lambda text, policy: parse_webhook_url(text, policy.target_policy),
        {"type": "string", "format": "uri"},
        "URL that receives the webhooks of this request, in place of the tenant's default.",
    ),
    "webhook_intermediate_status": SubmitOption(
        lambda text, _: parse_boolean(text),
        _FLAG,
        "Also send a webhook for each status before the end.",
    ),
    "timeout": SubmitOption(
        _parse_timeout, _SECONDS, "Maximum seconds to the end; after that the job expires."
    ),
    "start_timeout": SubmitOption(
        _parse_start_timeout,
        _SECONDS,
        "Maximum seconds to wait for the start; if exceeded, the job expires at no cost.",
    ),
    "not_before": SubmitOption(
        # In a query a `+` that is not escaped is a space.
        lambda text, _: parse_instant(text.replace(" ", "+")),
        {"type": "string", "format": "date-time"},
        "The earliest time (RFC 3339, with its zone) of the submit to RunComfy. Its money is "
        "reserved immediately; its deadlines count from then. A stored result, or an identical "
        "request in flight, is used immediately.",
    ),
    "max_cost": SubmitOption(
        lambda text, _: parse_usd(text),
        {"type": "number", "minimum": 0},
        "USD. The submit is rejected if its estimate is higher, or not known.",
    ),
    "priority": SubmitOption(
        lambda text, _: _parse_priority(text),
        {"type": "string", "enum": list(PRIORITIES)},
        "Order among the tenant's own waiting jobs. Default: `normal`.",
    ),
    "reference": SubmitOption(
        lambda text, _: parse_printable(text),
        {"type": "string", "minLength": 1, "maxLength": MAX_REFERENCE_LENGTH},
        "Your own string. It is returned with the request, its events and its webhooks.",
    ),
    "label": SubmitOption(
        lambda text, _: parse_label_option(text),
        LABEL_SCHEMA,
        "`key:value`, once for each of up to 16 labels; or the header `Gateway-Labels`. Cost is "
        "grouped and lists are filtered by labels; they are returned with the request, its events "
        "and its webhooks.",
        for_items=False,
    ),
    "cache": SubmitOption(
        lambda text, _: _parse_cache(text),
        {"type": "string", "enum": list(CacheOption)},
        "`use`: return a stored result of the same input, or join an identical request in flight; "
        "`refresh`: do not return a stored result; `off`: neither, and this request serves no "
        "other. Default: the setting of the tenant and the model, and `off` for an input without "
        "`seed` if the model has one. `Gateway-Cache` returns the outcome.",
    ),
    "dry_run": SubmitOption(
        lambda text, _: parse_boolean(text),
        _FLAG,
        "Check and price the request and return what would happen; nothing is stored or spent.",
        for_items=False,
    ),
}
