"""An ordered list of rules, each with a dose that says how often it acts.

Knows nothing of what the rules do.
"""

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from simulator.script_fields import Fields, ScriptError

RuleT = TypeVar("RuleT")


@dataclass(frozen=True, slots=True)
class RuleFrequency:
    """How often a rule acts: at most ``times``, at ``rate`` (0 to 1); None means no bound."""

    times: int | None = None
    rate: float | None = None

    @classmethod
    def parse(cls, fields: Fields) -> "RuleFrequency":
        """Take ``times`` and ``rate``; raise ScriptError when the rate is above 1."""
        dose = cls(times=fields.integer("times"), rate=fields.number("rate"))
        if dose.rate is not None and dose.rate > 1:
            text = "rate: expected a number from 0 to 1"
            raise ScriptError(text)
        return dose


@dataclass(slots=True)
class RuleEntry(Generic[RuleT]):
    """A rule, its dose, and how often it has acted."""

    rule: RuleT
    frequency: RuleFrequency
    use_count: int = 0

    @property
    def is_exhausted(self) -> bool:
        """Whether the rule has acted as often as it may."""
        return self.frequency.times is not None and self.use_count >= self.frequency.times


class RuleList(Generic[RuleT]):
    """The first rule that fits, is not spent and is drawn, acts."""

    def __init__(self, rng: random.Random) -> None:
        """Draw rates from ``chance``."""
        self._rng = rng
        self._entries: list[RuleEntry[RuleT]] = []

    @property
    def entries(self) -> tuple[RuleEntry[RuleT], ...]:
        """All rules in order, spent ones too."""
        return tuple(self._entries)

    def extend(self, rules: Iterable[tuple[RuleT, RuleFrequency]]) -> None:
        """Add rules behind those that are there."""
        self._entries.extend(RuleEntry(rule, dose) for rule, dose in rules)

    def clear(self) -> None:
        """Forget all rules."""
        self._entries.clear()

    def take_match(self, matches: Callable[[RuleT], bool]) -> RuleT | None:
        """The rule that acts now, counted as used; None when none does."""
        for entry in self._entries:
            if not entry.is_exhausted and matches(entry.rule) and self._is_sampled(entry.frequency):
                entry.use_count += 1
                return entry.rule
        return None

    def _is_sampled(self, frequency: RuleFrequency) -> bool:
        return frequency.rate is None or self._rng.random() < frequency.rate
