"""Reads a JSON object field by field, so that a typing error in a script is told and not ignored.

Knows nothing of what the fields mean.
"""

from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Any, TypeVar

Json = dict[str, Any]
Word = TypeVar("Word", bound=StrEnum)
Value = TypeVar("Value")


class ScriptError(ValueError):
    """A script that cannot be followed; the text says which field and why."""


class Fields:
    """The fields of one JSON object; ``finish`` refuses those that nobody read."""

    def __init__(self, document: object) -> None:
        """Raise ScriptError when the document is not an object."""
        if not isinstance(document, Mapping):
            text = f"expected an object, got {document!r:.80}"
            raise ScriptError(text)
        self._left = dict(document)

    def raw(self, name: str) -> Any:  # noqa: ANN401 - any JSON value is meant
        """The value as it stands; None when absent."""
        return self._left.pop(name, None)

    def text(self, name: str) -> str | None:
        """A string."""
        return self._typed(name, str)

    def text_or(self, name: str, usual: str) -> str:
        """A string, or what it usually is."""
        value = self.text(name)
        return usual if value is None else value

    def whole_or(self, name: str, usual: int) -> int:
        """An integer of at least 0, or what it usually is."""
        value = self.whole(name)
        return usual if value is None else value

    def span_or(self, name: str, usual: timedelta) -> timedelta:
        """A number of seconds, or what it usually is."""
        value = self.span(name)
        return usual if value is None else value

    def flag(self, name: str) -> bool | None:
        """True or false."""
        return self._typed(name, bool)

    def whole(self, name: str) -> int | None:
        """An integer of at least 0."""
        number = self.number(name)
        if number is not None and number != int(number):
            text = f"{name}: expected a whole number"
            raise ScriptError(text)
        return None if number is None else int(number)

    def number(self, name: str) -> float | None:
        """A number of at least 0."""
        value = self.raw(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
            text = f"{name}: expected a number of at least 0"
            raise ScriptError(text)
        return float(value)

    def span(self, name: str) -> timedelta | None:
        """A number of seconds."""
        seconds = self.number(name)
        return None if seconds is None else timedelta(seconds=seconds)

    def word(self, name: str, words: type[Word]) -> Word | None:
        """One word out of a list."""
        value = self.text(name)
        if value is None:
            return None
        if value not in list(words):
            text = f"{name}: {value!r} is none of {', '.join(words)}"
            raise ScriptError(text)
        return words(value)

    def finish(self) -> None:
        """Raise ScriptError when a field was not read."""
        if self._left:
            text = f"unknown fields: {', '.join(sorted(self._left))}"
            raise ScriptError(text)

    def _typed(self, name: str, kind: type[Value]) -> Value | None:
        value = self.raw(name)
        if value is not None and not isinstance(value, kind):
            text = f"{name}: expected {kind.__name__}"
            raise ScriptError(text)
        return value
