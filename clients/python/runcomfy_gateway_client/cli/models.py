"""`rcg model …`: the models of the gateway."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Optional

import typer

from runcomfy_gateway_client.cli.output import (
    JsonOption,
    print_fields,
    print_json,
    print_next_page,
    print_table,
)
from runcomfy_gateway_client.cli.session import gateway
from runcomfy_gateway_client.documents import Document

app = typer.Typer(no_args_is_help=True)

_COLUMNS = ("model_id", "display_name", "base_price_usd", "price_unit")
_FIELD_COLUMNS = ("field", "required", "type", "values", "default", "description")
_SCHEMAS = frozenset({"input_schema", "output_schema"})
_MAX_CELL = 60


@app.command("list")
def list_all(
    context: typer.Context,
    *,
    search: Annotated[
        Optional[str], typer.Option(help="Words of the id, name or description.")
    ] = None,
    limit: Annotated[Optional[int], typer.Option(help="Models per page.")] = None,
    offset: Annotated[Optional[int], typer.Option(help="Models to skip.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List models with their prices."""
    with gateway(context, as_json=as_json) as client:
        page = client.models(search, limit=limit, offset=offset)
    if as_json:
        print_json(page)
        return
    print_table(page["models"], _COLUMNS)
    last = page["offset"] + len(page["models"])
    if last < page["total"]:
        print_next_page("--offset", last)


@app.command()
def show(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="The model's id, or an alias of it.")],
    *,
    as_json: JsonOption = False,
) -> None:
    """Show a model: its price, and the fields of its input."""
    with gateway(context, as_json=as_json) as client:
        document = client.model(model)
    if as_json:
        print_json(document)
        return
    print_fields({name: one for name, one in document.items() if name not in _SCHEMAS})
    print()
    print_table(list(rows_of(document)), _FIELD_COLUMNS)


def rows_of(document: Document) -> Iterator[Mapping[str, Any]]:
    """Yield a row for each field of a model's input."""
    schema = document.get("input_schema") or {}
    for name, field in (schema.get("properties") or {}).items():
        values = field.get("enum") or [
            field[limit] for limit in ("minimum", "maximum") if limit in field
        ]
        yield {
            "field": name,
            "required": "yes" if name in schema.get("required", ()) else None,
            "type": field.get("type"),
            "values": values or None,
            "default": _short(field.get("default")),
            "description": _short(field.get("description")),
        }


def _short(value: object) -> object:
    if isinstance(value, str) and len(value) > _MAX_CELL:
        return f"{value[: _MAX_CELL - 1]}…"
    return value
