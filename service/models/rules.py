"""Cross-field rules that JSON Schema cannot express, as data in a card."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from core.deduplication.fingerprint import NO_DEFAULTS, Defaults
from core.errors import FieldError
from service.models.validation import json_pointer


@dataclass(frozen=True, slots=True)
class SumEquals:
    """The sum of `part` over the items of `parts` must equal `total`, if there are items.

    Source: the description of `multi_prompt` on RunComfy's pages for Kling 3.0.
    """

    parts: str
    part: str
    total: str

    def check(self, value: Mapping[str, object], defaults: Defaults) -> FieldError | None:
        """Return the error of `value`, or None. Absent fields count as their defaults.

        It is called after the schema was checked, and relies on its types.
        """
        items = value.get(self.parts)
        if not isinstance(items, list) or not items:
            return None
        inner = (defaults.nested.get(self.parts) or NO_DEFAULTS).items or NO_DEFAULTS
        found = sum(
            _number(inner.effective(item, self.part)) for item in items if isinstance(item, dict)
        )
        wanted = _number(defaults.effective(value, self.total))
        if found == wanted:
            return None
        text = f"the sum of each {self.part} is {found:g} and must be {self.total}, {wanted:g}"
        return FieldError(json_pointer([self.parts]), text)


def _number(value: object) -> float:
    return value if isinstance(value, int | float) else 0


RULES: Final[Mapping[str, type[SumEquals]]] = {"sum_equals": SumEquals}


def parse_rule(document: Mapping[str, str]) -> SumEquals:
    """Parse a card's rule: its name is in `rule`, its arguments are the other fields."""
    arguments = {name: text for name, text in document.items() if name != "rule"}
    return RULES[document["rule"]](**arguments)
