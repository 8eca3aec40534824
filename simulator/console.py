"""Prints a run as numbered steps, in colour on a terminal."""

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
    """Return whether to use colour: on a capable terminal without NO_COLOR (no-color.org)."""
    plain = environment.get("NO_COLOR") or environment.get("TERM") == "dumb"
    return stream.isatty() and not plain


@dataclass(slots=True)
class Console:
    """Writes steps, details and outcomes to one stream."""

    stream: TextIO
    colour: bool
    total_steps: int = 0
    _current_step: int = 0

    def print_title(self, text: str) -> None:
        """Print the first line of a run."""
        self._print_line(self._paint(text, _BOLD))

    def print_step(self, text: str) -> None:
        """Print the heading of the next numbered step."""
        self._current_step += 1
        self._print_line(self._paint(f"\n[{self._current_step}/{self.total_steps}] {text}", _BOLD))

    def print_text(self, text: str) -> None:
        """Print text without indentation, so that it can be copied."""
        self._print_line(text)

    def print_warning(self, text: str) -> None:
        """Print a warning."""
        self._print_line(self._paint(text, _RED))

    def print_detail(self, text: str) -> None:
        """Print one or more lines about the current step."""
        for line in text.splitlines():
            self._print_line(f"{_INDENT}{line}".rstrip())

    def print_table(self, rows: Iterable[tuple[str, str, str]]) -> None:
        """Print a table of name, value and remark."""
        table = list(rows)
        first = max((len(name) for name, _, _ in table), default=0)
        second = max((len(value) for _, value, _ in table), default=0)
        for name, value, remark in table:
            self.print_detail(f"{name:<{first}}  {value:<{second}}  {self._paint(remark, _DIM)}")

    def print_success(self, text: str) -> None:
        """Print a passed check."""
        self._print_line(f"{_INDENT}{self._paint('ok', _GREEN)}  {text}")

    def print_done(self, text: str) -> None:
        """Print the last line of a successful run."""
        self._print_line(self._paint(f"\n{text}", _GREEN))

    def print_failure(self, text: str, log: Iterable[str]) -> None:
        """Print an error, with the last log lines of the process concerned."""
        self._print_line(self._paint(f"\nFAILED: {text}", _RED))
        for line in log:
            self._print_line(f"    | {_printable(line)}")

    def _paint(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.colour and text else text

    def _print_line(self, text: str) -> None:
        print(text, file=self.stream, flush=True)


def _printable(line: str) -> str:
    # A log may contain anything; escape sequences must not reach the terminal.
    return re.sub(r"[^\x20-\x7e\xa0-\U0010ffff]", "?", line)
