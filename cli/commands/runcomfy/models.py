"""`gateway model …`: what RunComfy changed in its catalogue, and pins of models."""

from collections.abc import Sequence
from typing import Annotated, Final

import typer

from cli.output import JsonOption, print_table
from cli.run_command import run_admin
from core.models.changes import MAX_CHANGES
from service.admin import model_pins, representations
from service.admin.model_pins import PinRequest, PinTarget
from service.models.pins import PinState
from service.parsing.request_models import parse_model

app = typer.Typer(no_args_is_help=True, add_completion=False)

ModelArgument = Annotated[str, typer.Argument(metavar="ID", help="The model's id, not an alias.")]
TenantOption = Annotated[str | None, typer.Option(help="For one tenant; without it for all.")]
_PIN_COLUMNS: Final = ("model_id", "tenant", "pinned_at", "with_price", "changes")
_CHANGE_COLUMNS: Final = ("at", "model_id", "kind", "subject", "detail")


@app.command()
def changes(
    *,
    limit: Annotated[int, typer.Option(min=1, max=MAX_CHANGES, help="Number of changes.")] = 100,
    as_json: JsonOption = False,
) -> None:
    """List what RunComfy changed in its catalogue, newest first."""
    found = run_admin(lambda admin: admin.stores.catalogue.list_changes(limit))
    rows = [representations.entry_representation(change) for change in found]
    print_table(rows, _CHANGE_COLUMNS, as_json=as_json)


@app.command()
def pins(*, as_json: JsonOption = False) -> None:
    """List the pins of models, each with what RunComfy has changed since."""
    _show(run_admin(model_pins.list_pins), as_json=as_json)


@app.command()
def pin(
    model_id: ModelArgument,
    *,
    tenant: TenantOption = None,
    with_price: Annotated[
        bool, typer.Option("--with-price", help="Refuse after a change of the price too.")
    ] = False,
    schema_digest: Annotated[
        str | None, typer.Option(help="The model's `schema_digest` when it was tried.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Pin a model as it is now: submits that a later change concerns are refused unpaid."""
    fields = {
        "model_id": model_id,
        "tenant": tenant,
        "with_price": with_price,
        "schema_digest": schema_digest,
    }
    _show(
        run_admin(lambda admin: model_pins.set_pin(admin, parse_model(PinRequest, fields))),
        as_json=as_json,
    )


@app.command()
def unpin(
    model_id: ModelArgument, *, tenant: TenantOption = None, as_json: JsonOption = False
) -> None:
    """Remove a pin."""
    fields = {"model_id": model_id, "tenant": tenant}
    _show(
        run_admin(lambda admin: model_pins.remove_pin(admin, parse_model(PinTarget, fields))),
        as_json=as_json,
    )


def _show(found: Sequence[PinState], *, as_json: bool) -> None:
    rows = representations.model_pins_representation(found)["pins"]
    if not as_json:
        rows = [row | {"changes": [describe_row(one) for one in row["changes"]]} for row in rows]
    print_table(rows, _PIN_COLUMNS, as_json=as_json)


def describe_row(change: dict[str, str]) -> str:
    """Return a change as a cell of the table."""
    return " ".join(filter(None, (change["kind"], change["subject"], change["detail"])))
