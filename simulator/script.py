"""What clients script: parsed strictly, so that a mistyped name is an error and not ignored."""

import random
from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

Json = dict[str, Any]
_MAX_SECONDS = 10_000_000
Seconds = Annotated[float, Field(ge=0, le=_MAX_SECONDS)]
Count = Annotated[int, Field(ge=0)]


class Script(BaseModel):
    """Base of all scripts. Construction raises `ValueError`."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Rule(Script):
    """A rule that applies at most ``times``, with probability ``rate``; None: no limit."""

    times: Count | None = None
    rate: Annotated[float, Field(ge=0, le=1)] | None = None


RuleT = TypeVar("RuleT", bound=Rule)
ScriptT = TypeVar("ScriptT", bound=Script)


class RuleList(Generic[RuleT]):
    """Rules of which the first that matches, is not exhausted and is sampled applies."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._rules: list[RuleT] = []
        self._use_counts: list[int] = []

    def __iter__(self) -> Iterator[tuple[RuleT, int]]:
        """Yield each rule in order, with how often it has applied."""
        yield from zip(self._rules, self._use_counts, strict=True)

    def extend(self, rules: Iterable[RuleT]) -> None:
        """Append rules."""
        added = list(rules)
        self._rules += added
        self._use_counts += [0] * len(added)

    def clear(self) -> None:
        """Remove all rules."""
        self._rules.clear()
        self._use_counts.clear()

    def take_match(self, matches: Callable[[RuleT], bool]) -> RuleT | None:
        """Return the rule that applies, counted as used; None if none does."""
        for index, (rule, use_count) in enumerate(self):
            is_exhausted = rule.times is not None and use_count >= rule.times
            if not is_exhausted and matches(rule) and self._is_sampled(rule):
                self._use_counts[index] += 1
                return rule
        return None

    def _is_sampled(self, rule: RuleT) -> bool:
        return rule.rate is None or self._rng.random() < rule.rate


def parse_scripts(kind: type[ScriptT], documents: object) -> list[ScriptT]:
    """Parse scripts, one object or a list. Raises `ValueError`."""
    rows = documents if isinstance(documents, list) else [documents]
    return [kind.model_validate(row) for row in rows]


def error_text(error: ValueError) -> str:
    """Return why a script was refused: each wrong field and its reason."""
    if not isinstance(error, ValidationError):
        return str(error)
    rows = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(f"{'.'.join(map(str, row['loc']))}: {row['msg']}" for row in rows)
