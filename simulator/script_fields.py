"""Reads a JSON object field by field, so that a mistyped name is an error and not ignored."""

from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Any, TypeVar

Json = dict[str, Any]
EnumT = TypeVar("EnumT", bound=StrEnum)
ValueT = TypeVar("ValueT")


class ScriptError(ValueError):
    """An invalid script; the text has the field and the reason."""


class Fields:
    """The fields of one JSON object; ``reject_unknown`` refuses those that were not read."""

    def __init__(self, document: object) -> None:
        """Raise ScriptError if the document is not an object."""
        if not isinstance(document, Mapping):
            text = f"expected an object, got {document!r:.80}"
            raise ScriptError(text)
        self._unread = dict(document)

    def raw(self, name: str) -> Any:  # noqa: ANN401 - any JSON value is meant
        """Return any value; None if absent."""
        return self._unread.pop(name, None)

    def text(self, name: str) -> str | None:
        """Return a string; None if absent."""
        return self._pop_typed(name, str)

    def text_or_default(self, name: str, default: str) -> str:
        """Return a string."""
        value = self.text(name)
        return default if value is None else value

    def integer_or_default(self, name: str, default: int) -> int:
        """Return an integer of at least 0."""
        value = self.integer(name)
        return default if value is None else value

    def duration_or_default(self, name: str, default: timedelta) -> timedelta:
        """Return a duration from a number of seconds."""
        value = self.duration(name)
        return default if value is None else value

    def boolean(self, name: str) -> bool | None:
        """Return true or false; None if absent."""
        return self._pop_typed(name, bool)

    def integer(self, name: str) -> int | None:
        """Return an integer of at least 0; None if absent."""
        number = self.number(name)
        if number is not None and number != int(number):
            text = f"{name}: expected a whole number"
            raise ScriptError(text)
        return None if number is None else int(number)

    def number(self, name: str) -> float | None:
        """Return a number of at least 0; None if absent."""
        value = self.raw(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
            text = f"{name}: expected a number of at least 0"
            raise ScriptError(text)
        return float(value)

    def duration(self, name: str) -> timedelta | None:
        """Return a duration from a number of seconds; None if absent."""
        seconds = self.number(name)
        return None if seconds is None else timedelta(seconds=seconds)

    def choice(self, name: str, choices: type[EnumT]) -> EnumT | None:
        """Return a member of an enum; None if absent."""
        value = self.text(name)
        if value is None:
            return None
        if value not in list(choices):
            text = f"{name}: {value!r} is none of {', '.join(choices)}"
            raise ScriptError(text)
        return choices(value)

    def reject_unknown(self) -> None:
        """Raise ScriptError if a field was not read."""
        if self._unread:
            text = f"unknown fields: {', '.join(sorted(self._unread))}"
            raise ScriptError(text)

    def _pop_typed(self, name: str, kind: type[ValueT]) -> ValueT | None:
        value = self.raw(name)
        if value is not None and not isinstance(value, kind):
            text = f"{name}: expected {kind.__name__}"
            raise ScriptError(text)
        return value
