"""An ordered list of rules, each with a dose that says how often it acts.

Knows nothing of what the rules do.
"""

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from simulator.script_fields import Fields, ScriptError

Rule = TypeVar("Rule")


@dataclass(frozen=True, slots=True)
class Dose:
    """How often a rule acts: at most ``times``, at ``rate`` (0 to 1); None means no bound."""

    times: int | None = None
    rate: float | None = None

    @classmethod
    def read(cls, fields: Fields) -> "Dose":
        """Take ``times`` and ``rate``; raise ScriptError when the rate is above 1."""
        dose = cls(times=fields.whole("times"), rate=fields.number("rate"))
        if dose.rate is not None and dose.rate > 1:
            text = "rate: expected a number from 0 to 1"
            raise ScriptError(text)
        return dose


@dataclass(slots=True)
class Entry(Generic[Rule]):
    """A rule, its dose, and how often it has acted."""

    rule: Rule
    dose: Dose
    used: int = 0

    @property
    def spent(self) -> bool:
        """Whether the rule has acted as often as it may."""
        return self.dose.times is not None and self.used >= self.dose.times


class Script(Generic[Rule]):
    """The first rule that fits, is not spent and is drawn, acts."""

    def __init__(self, chance: random.Random) -> None:
        """Draw rates from ``chance``."""
        self._chance = chance
        self._entries: list[Entry[Rule]] = []

    @property
    def entries(self) -> tuple[Entry[Rule], ...]:
        """All rules in order, spent ones too."""
        return tuple(self._entries)

    def extend(self, rules: Iterable[tuple[Rule, Dose]]) -> None:
        """Add rules behind those that are there."""
        self._entries.extend(Entry(rule, dose) for rule, dose in rules)

    def clear(self) -> None:
        """Forget all rules."""
        self._entries.clear()

    def pick(self, fits: Callable[[Rule], bool]) -> Rule | None:
        """The rule that acts now, counted as used; None when none does."""
        for entry in self._entries:
            if not entry.spent and fits(entry.rule) and self._drawn(entry.dose):
                entry.used += 1
                return entry.rule
        return None

    def _drawn(self, dose: Dose) -> bool:
        return dose.rate is None or self._chance.random() < dose.rate
