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
    MOST_SHOWN,
    Unfit,
    flag,
    judge,
    printable,
    read_query,
    receiver,
    refuse,
    usd,
    whole,
    word,
)

FARTHEST: Final = 999_999_999
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


def read_options(query: str, policy: OptionPolicy) -> SubmitOptions:
    """The options of a submit. Raises `MalformedRequest` with every wrong option by name."""
    options, wrong = judge_options(read_query(query), policy, "?")
    refuse(wrong)
    return options


def judge_options(
    texts: Mapping[str, str], policy: OptionPolicy, path: str
) -> tuple[SubmitOptions, tuple[FieldError, ...]]:
    """The options that are right, and what is wrong with the others; `path` begins their paths."""

    def read(name: str, text: str) -> object:
        if name not in READERS:
            raise Unfit(_unknown(name))
        return READERS[name](text, policy)

    values, wrong = judge(texts, read, path)
    named = {_FIELDS.get(name, name): value for name, value in values.items()}
    return SubmitOptions(**named), wrong


def _unknown(name: str) -> str:
    near = get_close_matches(name, READERS, n=1) if len(name) <= MOST_SHOWN else []
    return f"is not an option; did you mean {near[0]}?" if near else "is not an option"


def _timeout(text: str, policy: OptionPolicy) -> timedelta:
    return _span(text, policy.maximum.timeout)


def _start_timeout(text: str, policy: OptionPolicy) -> timedelta:
    return _span(text, policy.maximum.start_timeout or policy.maximum.timeout)


def _span(text: str, most: timedelta) -> timedelta:
    return timedelta(seconds=whole(text, 1, int(most.total_seconds()), " of seconds"))


def _priority(text: str) -> Priority:
    if text not in PRIORITIES:
        raise Unfit(f"must be one of {', '.join(PRIORITIES)}")
    return PRIORITIES[text]


PRIORITIES: Final = {priority.name.lower(): priority for priority in Priority}

_CACHE: Final = word(CacheOption)
READERS: Final[Mapping[str, Callable[[str, OptionPolicy], Any]]] = {
    "webhook": lambda text, policy: receiver(text, policy.targets),
    "webhook_intermediate_status": lambda text, _: flag(text),
    "timeout": _timeout,
    "start_timeout": _start_timeout,
    "max_cost": lambda text, _: usd(text),
    "priority": lambda text, _: _priority(text),
    "reference": lambda text, _: printable(text),
    "cache": lambda text, _: _CACHE(text),
    "dry_run": lambda text, _: flag(text),
}
_FIELDS: Final = {"webhook_intermediate_status": "webhook_intermediate"}
