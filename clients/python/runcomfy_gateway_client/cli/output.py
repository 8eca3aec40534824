"""What is printed: JSON for scripts on stdout, tables for people, progress on stderr."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated

import typer

from runcomfy_gateway_client.documents import Status

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_EMPTY = "-"


def print_json(document: object) -> None:
    """Print a document as JSON."""
    print(json.dumps(document, ensure_ascii=False))


def print_fields(document: Mapping[str, object]) -> None:
    """Print a line for each field that has a value."""
    fields = {name: _cell(value) for name, value in document.items() if value is not None}
    width = max(map(len, fields), default=0)
    for name, text in fields.items():
        print(f"{name:<{width}}  {text}")


def print_table(rows: Sequence[Mapping[str, object]], columns: Sequence[str]) -> None:
    """Print the columns of all rows."""
    table = [list(columns), *([_cell(row.get(name)) for name in columns] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*table)]
    for line in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip())


def print_next_page(option: str, value: object) -> None:
    """Print the option that shows the page after a table, on stderr."""
    print(f"next page: {option} {value}", file=sys.stderr)


def _cell(value: object) -> str:
    if value is None or value == "":
        return _EMPTY
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    # A terminal obeys control characters, and what others wrote may have some.
    return "".join(char if char.isprintable() else " " for char in text)


class Progress:
    """Prints a line on stderr when the status of a request changes."""

    def __init__(self) -> None:
        """Nothing is printed yet."""
        self._last = ""

    def __call__(self, status: Status) -> None:
        """Take the newest status."""
        line = describe_status(status)
        if line != self._last:
            self._last = line
            print(line, file=sys.stderr, flush=True)


def describe_status(status: Status) -> str:
    """Return a line about a status."""
    parts = [status.request_id, status.status]
    if status.queue_position is not None:
        parts.append(f"position {status.queue_position}")
    if not status.is_final and status.finish_p50 is not None:
        parts.append(f"half of such requests end by {status.finish_p50}")
    return "  ".join(map(_cell, parts))
