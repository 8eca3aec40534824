"""Prints a run as numbered steps that a person can follow. Colour is for terminals alone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_BOLD: Final = "1"
_DIM: Final = "2"
_GREEN: Final = "32"
_RED: Final = "31"
_INDENT: Final = "      "


def supports_colour(stream: TextIO, environment: Mapping[str, str]) -> bool:
    """Whether to colour: a terminal that can, and nobody said NO_COLOR (no-color.org)."""
    plain = environment.get("NO_COLOR") or environment.get("TERM") == "dumb"
    return stream.isatty() and not plain


@dataclass(slots=True)
class Console:
    """Writes steps, facts and outcomes to one stream."""

    stream: TextIO
    colour: bool
    total_steps: int = 0
    _current_step: int = 0

    def print_title(self, text: str) -> None:
        """The first line of a run."""
        self._print_line(self._paint(text, _BOLD))

    def print_step(self, text: str) -> None:
        """The heading of the next numbered step."""
        self._current_step += 1
        self._print_line(self._paint(f"\n[{self._current_step}/{self.total_steps}] {text}", _BOLD))

    def print_text(self, text: str) -> None:
        """Text as it stands, to be copied."""
        self._print_line(text)

    def print_warning(self, text: str) -> None:
        """What nobody should overlook."""
        self._print_line(self._paint(text, _RED))

    def print_detail(self, text: str) -> None:
        """What was seen, one or more lines."""
        for line in text.splitlines():
            self._print_line(f"{_INDENT}{line}".rstrip())

    def print_table(self, rows: Iterable[tuple[str, str, str]]) -> None:
        """What was seen, as a table of name, value and remark."""
        table = list(rows)
        first = max((len(name) for name, _, _ in table), default=0)
        second = max((len(value) for _, value, _ in table), default=0)
        for name, value, remark in table:
            self.print_detail(f"{name:<{first}}  {value:<{second}}  {self._paint(remark, _DIM)}")

    def print_success(self, text: str) -> None:
        """An outcome as it should be."""
        self._print_line(f"{_INDENT}{self._paint('ok', _GREEN)}  {text}")

    def print_done(self, text: str) -> None:
        """The last line of a run that went well."""
        self._print_line(self._paint(f"\n{text}", _GREEN))

    def print_failure(self, text: str, log: Iterable[str]) -> None:
        """What went wrong, with the last words of the process that knows."""
        self._print_line(self._paint(f"\nFAILED: {text}", _RED))
        for line in log:
            self._print_line(f"    | {_printable(line)}")

    def _paint(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.colour and text else text

    def _print_line(self, text: str) -> None:
        print(text, file=self.stream, flush=True)


def _printable(line: str) -> str:
    # A log may hold anything; escape sequences in it must not reach the terminal.
    return re.sub(r"[^\x20-\x7e\xa0-\U0010ffff]", "?", line)
