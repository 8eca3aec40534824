"""Reads a JSON object field by field, so that a typing error in a script is told and not ignored.

Knows nothing of what the fields mean.
"""

from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Any, TypeVar

Json = dict[str, Any]
EnumT = TypeVar("EnumT", bound=StrEnum)
ValueT = TypeVar("ValueT")


class ScriptError(ValueError):
    """A script that cannot be followed; the text says which field and why."""


class Fields:
    """The fields of one JSON object; ``finish`` refuses those that nobody read."""

    def __init__(self, document: object) -> None:
        """Raise ScriptError when the document is not an object."""
        if not isinstance(document, Mapping):
            text = f"expected an object, got {document!r:.80}"
            raise ScriptError(text)
        self._unread = dict(document)

    def raw(self, name: str) -> Any:  # noqa: ANN401 - any JSON value is meant
        """The value as it stands; None when absent."""
        return self._unread.pop(name, None)

    def text(self, name: str) -> str | None:
        """A string."""
        return self._pop_typed(name, str)

    def text_or_default(self, name: str, default: str) -> str:
        """A string, or what it usually is."""
        value = self.text(name)
        return default if value is None else value

    def integer_or_default(self, name: str, default: int) -> int:
        """An integer of at least 0, or what it usually is."""
        value = self.integer(name)
        return default if value is None else value

    def duration_or_default(self, name: str, default: timedelta) -> timedelta:
        """A number of seconds, or what it usually is."""
        value = self.duration(name)
        return default if value is None else value

    def boolean(self, name: str) -> bool | None:
        """True or false."""
        return self._pop_typed(name, bool)

    def integer(self, name: str) -> int | None:
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

    def duration(self, name: str) -> timedelta | None:
        """A number of seconds."""
        seconds = self.number(name)
        return None if seconds is None else timedelta(seconds=seconds)

    def choice(self, name: str, choices: type[EnumT]) -> EnumT | None:
        """One word out of a list."""
        value = self.text(name)
        if value is None:
            return None
        if value not in list(choices):
            text = f"{name}: {value!r} is none of {', '.join(choices)}"
            raise ScriptError(text)
        return choices(value)

    def reject_unknown(self) -> None:
        """Raise ScriptError when a field was not read."""
        if self._unread:
            text = f"unknown fields: {', '.join(sorted(self._unread))}"
            raise ScriptError(text)

    def _pop_typed(self, name: str, kind: type[ValueT]) -> ValueT | None:
        value = self.raw(name)
        if value is not None and not isinstance(value, kind):
            text = f"{name}: expected {kind.__name__}"
            raise ScriptError(text)
        return value
