"""Printing of one JSON document, or of lines and tables for people."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Final

import typer

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
CursorOption = Annotated[
    str | None, typer.Option("--cursor", help="Of the page before, which printed it.")
]
_EMPTY_CELL: Final = "-"


def print_document(document: Mapping[str, object], *, as_json: bool) -> None:
    """Print a document as JSON, or as one line per field."""
    if as_json:
        print(json.dumps(document))
        return
    width = max(map(len, document))
    for name, value in document.items():
        print(f"{name:<{width}}  {_format_cell(value)}")


def print_table(
    rows: Sequence[Mapping[str, object]], columns: Sequence[str], *, as_json: bool
) -> None:
    """Print a list as a JSON array of whole rows, or as a table of some columns."""
    if as_json:
        print(json.dumps(list(rows)))
        return
    table = [list(columns), *([_format_cell(row.get(name)) for name in columns] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for line in table:
        print("  ".join(f"{cell:<{w}}" for cell, w in zip(line, widths, strict=True)).rstrip())


def print_next_page(cursor: str | None) -> None:
    """Print the option that shows the page after a table, on stderr; nothing after the last one."""
    if cursor is not None:
        print(f"next page: --cursor {cursor}", file=sys.stderr)


def _format_cell(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case list() if value:
            return ", ".join(map(_format_cell, value))
        case dict() if value:
            return ", ".join(f"{name}={_format_cell(inner)}" for name, inner in value.items())
        case int() | float():
            return str(value)
        case _:
            return str(value) if value else _EMPTY_CELL
