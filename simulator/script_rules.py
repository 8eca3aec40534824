"""An ordered list of rules, each with a limit on how often it applies."""

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from simulator.script_fields import Fields, ScriptError

RuleT = TypeVar("RuleT")


@dataclass(frozen=True, slots=True)
class RuleFrequency:
    """How often a rule applies: at most ``times``, with probability ``rate``; None: no limit."""

    times: int | None = None
    rate: float | None = None

    @classmethod
    def parse(cls, fields: Fields) -> "RuleFrequency":
        """Read ``times`` and ``rate``. Raises ScriptError for a rate above 1."""
        frequency = cls(times=fields.integer("times"), rate=fields.number("rate"))
        if frequency.rate is not None and frequency.rate > 1:
            text = "rate: expected a number from 0 to 1"
            raise ScriptError(text)
        return frequency


@dataclass(slots=True)
class RuleEntry(Generic[RuleT]):
    """A rule, its frequency, and how often it has applied."""

    rule: RuleT
    frequency: RuleFrequency
    use_count: int = 0

    @property
    def is_exhausted(self) -> bool:
        """Whether the rule has applied as often as it may."""
        return self.frequency.times is not None and self.use_count >= self.frequency.times


class RuleList(Generic[RuleT]):
    """Rules of which the first that matches, is not exhausted and is sampled applies."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._entries: list[RuleEntry[RuleT]] = []

    @property
    def entries(self) -> tuple[RuleEntry[RuleT], ...]:
        """All rules in order, including exhausted ones."""
        return tuple(self._entries)

    def extend(self, rules: Iterable[tuple[RuleT, RuleFrequency]]) -> None:
        """Append rules."""
        self._entries.extend(RuleEntry(rule, frequency) for rule, frequency in rules)

    def clear(self) -> None:
        """Remove all rules."""
        self._entries.clear()

    def take_match(self, matches: Callable[[RuleT], bool]) -> RuleT | None:
        """Return the rule that applies, counted as used; None if none does."""
        for entry in self._entries:
            if not entry.is_exhausted and matches(entry.rule) and self._is_sampled(entry.frequency):
                entry.use_count += 1
                return entry.rule
        return None

    def _is_sampled(self, frequency: RuleFrequency) -> bool:
        return frequency.rate is None or self._rng.random() < frequency.rate
